"""Convolutions."""

from __future__ import annotations

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.ops.windows import Pads, explicit_pads, ints_attr, window_pads
from equiaudit.repair.onnx.values import Untranslated, Value

aten = torch.ops.aten


@op("Conv")
def conv(call: Call) -> Value:
    """Uneven padding becomes a pad of zeros in front."""
    x, weight = call.image(), _weight(call)
    kernel = weight.shape[2:]
    call.require("kernel_shape", list(kernel))
    stride, dilation = ints_attr(call, "strides", (1, 1)), ints_attr(call, "dilations", (1, 1))
    pads = window_pads(call, x.shape[2:], kernel, stride, dilation)
    if not pads.is_even:
        x = call.emit(aten.pad.default, x, pads.torch_order, "constant", 0.0)
    padding = list(pads.before) if pads.is_even else [0, 0]
    groups = call.attr("group", 1)
    bias = call.optional(2)
    return call.emit(aten.conv2d.default, x, weight, bias, stride, padding, dilation, groups)


def _weight(call: Call) -> Value:
    weight = call.input(1)
    if weight.ndim != 4:
        raise Untranslated(f"it is a convolution over {weight.ndim - 2} axes")
    return weight


@op("ConvTranspose")
def conv_transpose(call: Call) -> Value:
    """Uneven crops beyond what `output_padding` says are slices afterwards."""
    x, weight = call.image(), _weight(call)
    kernel = weight.shape[2:]
    call.require("kernel_shape", list(kernel))
    stride, dilation = ints_attr(call, "strides", (1, 1)), ints_attr(call, "dilations", (1, 1))
    extra = ints_attr(call, "output_padding", (0, 0))
    full = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    crops = _crops(call, x, full, stride, extra)
    padding = list(crops.before)
    grown = [e + b - a for e, b, a in zip(extra, crops.before, crops.after, strict=True)]
    fits = _fits(grown, stride, dilation)
    if not fits:
        padding, grown = [0, 0], list(extra)
    groups = call.attr("group", 1)
    y = call.emit(
        aten.conv_transpose2d.input,
        *(x, weight, call.optional(2), stride, padding, grown, groups, dilation),
    )
    return y if fits else _cropped(call, y, crops)


def _crops(call: Call, x: Value, full: list[int], stride: list[int], extra: list[int]) -> Pads:
    """What is cut off the full result: `pads`, or what the wanted output size leaves over."""
    wanted = call.attr("output_shape")
    auto = call.attr("auto_pad", "NOTSET")
    if wanted is None and auto == "NOTSET":
        return explicit_pads(call)
    call.ignore("pads")
    if wanted is None and auto == "VALID":
        return Pads((0, 0), (0, 0))
    sizes = wanted[-2:] if wanted else [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    totals = [max(0, f + e - n) for f, e, n in zip(full, extra, sizes, strict=True)]
    less, more = ([t // 2 for t in totals], [t - t // 2 for t in totals])
    first, last = (less, more) if auto == "SAME_UPPER" else (more, less)
    return Pads((first[0], first[1]), (last[0], last[1]))


def _fits(grown: list[int], stride: list[int], dilation: list[int]) -> bool:
    """Whether torch takes these as `output_padding`."""
    return all(0 <= g < max(s, d) for g, s, d in zip(grown, stride, dilation, strict=True))


def _cropped(call: Call, y: Value, crops: Pads) -> Value:
    for axis, before, after in zip((2, 3), crops.before, crops.after, strict=True):
        end = y.shape[axis] - after
        if before or after:
            y = call.emit(aten.slice.Tensor, y, axis, before, end)
    return y
