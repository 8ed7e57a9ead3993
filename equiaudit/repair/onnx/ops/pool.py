"""Pools, with a window and over the whole map."""

from __future__ import annotations

import math

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.ops.windows import Pads, ints_attr, window_pads
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten


@op("GlobalAveragePool")
def global_average(call: Call) -> Value:
    """To one element per channel."""
    return call.emit(aten.adaptive_avg_pool2d.default, call.image(), [1, 1])


@op("GlobalMaxPool")
def global_max(call: Call) -> Value:
    """To one element per channel."""
    return call.emit(aten.amax.default, call.image(), [2, 3], True)


@op("MaxPool")
def max_pool(call: Call) -> Value:
    """Padding that torch does not take becomes a pad of minus infinity in front."""
    call.ignore("storage_order")  # of the indices, which are not translated
    x = call.image()
    kernel, stride, dilation, pads = _window(call, x)
    ceil = _ceil(call, x, kernel, stride, dilation, pads)
    padding = list(pads.before)
    if not pads.is_even or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        x = call.emit(aten.pad.default, x, pads.torch_order, "constant", -math.inf)
        padding = [0, 0]
    return call.emit(aten.max_pool2d.default, x, kernel, stride, padding, dilation, ceil)


@op("AveragePool")
def average_pool(call: Call) -> Value:
    """Uneven padding with zeros that count is a pad in front; others have no equivalent."""
    x = call.image()
    kernel, stride, dilation, pads = _window(call, x)
    if dilation != [1, 1]:
        raise Untranslated("it is an average pool with a dilation")
    counts = bool(call.attr("count_include_pad", 0))
    ceil = _ceil(call, x, kernel, stride, dilation, pads)
    padding = list(pads.before)
    if not pads.is_even or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        if ceil or not counts:
            return _sums_over_counts(call, x, (kernel, stride), pads, ceil)
        x = call.emit(aten.pad.default, x, pads.torch_order, "constant", 0.0)
        padding = [0, 0]
    return call.emit(aten.avg_pool2d.default, x, kernel, stride, padding, ceil, counts)


def _sums_over_counts(
    call: Call, x: Value, window: tuple[list[int], list[int]], pads: Pads, ceil: bool
) -> Value:
    """The average of a window's own elements: its sum by how many there are, a constant map."""
    if ceil or call.attr("count_include_pad", 0):
        raise Untranslated("it counts uneven padding, and rounds its size up")
    ones = call.constant(torch.ones((1, 1, *x.shape[2:])), "ones")
    parts = []
    for value in (x, ones):
        padded = call.emit(aten.pad.default, value, pads.torch_order, "constant", 0.0)
        parts.append(call.emit(aten.avg_pool2d.default, padded, *window))
    return call.emit(aten.div.Tensor, *parts)


def _window(call: Call, x: Value) -> tuple[list[int], list[int], list[int], Pads]:
    kernel = call.attr("kernel_shape")
    if kernel is None or len(kernel) != 2:
        raise Untranslated("its kernel_shape does not have 2 entries")
    stride, dilation = ints_attr(call, "strides", (1, 1)), ints_attr(call, "dilations", (1, 1))
    return kernel, stride, dilation, window_pads(call, x.shape[2:], kernel, stride, dilation)


def _ceil(
    call: Call, x: Value, kernel: list[int], stride: list[int], dilation: list[int], pads: Pads
) -> bool:
    """`ceil_mode`, False where it changes nothing."""
    if not call.attr("ceil_mode", 0):
        return False
    left_over = [
        (n + b + a - d * (k - 1) - 1) % s
        for n, b, a, k, s, d in zip(
            x.shape[2:], pads.before, pads.after, kernel, stride, dilation, strict=True
        )
    ]
    return any(left_over)
