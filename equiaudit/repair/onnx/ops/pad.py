"""Padding."""

from __future__ import annotations

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Untranslated, Value, is_batch

aten = torch.ops.aten

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@op("Pad")
def pad(call: Call) -> Value:
    """Amounts are attributes before opset 11, inputs since; some axes only since opset 18."""
    x, mode = call.input(0), call.attr("mode", "constant")
    if mode not in _MODES:
        raise Untranslated(f"its mode is {mode!r}")
    if call.opset < 11:
        amounts, fill = call.attr("pads"), call.attr("value", 0.0)
        axes = None
    else:
        amounts = call.ints(call.input(1), "pads")
        fill = call.number(call.optional(2), "constant_value") or 0.0
        axes = call.ints(call.optional(3), "axes")
    both = _by_axis(x, amounts or [], axes)
    if not any(any(p) for p in both):
        return x
    if any(is_batch(n) and any(p) for n, p in zip(x.shape, both, strict=True)):
        raise Untranslated("it pads the batch")
    return _padded(call, x, both, _MODES[mode], fill)


def _by_axis(x: Value, amounts: list[int], axes: list[int] | None) -> list[tuple[int, int]]:
    """(before, after) for each axis."""
    named = [a % x.ndim for a in axes] if axes is not None else list(range(x.ndim))
    if len(amounts) != 2 * len(named):
        raise Untranslated(f"it has {len(amounts)} pads for {len(named)} axes")
    both = [(0, 0)] * x.ndim
    for i, axis in enumerate(named):
        both[axis] = (amounts[i], amounts[len(named) + i])
    return both


def _padded(call: Call, x: Value, both: list[tuple[int, int]], mode: str, fill: float) -> Value:
    """`aten.pad`; what is cut off by amounts below zero goes first, as the others would read it."""
    if mode != "constant":
        x, both = _cropped(call, x, both)
        leading = both[: x.ndim - 2]
        if x.ndim != 4 or any(any(p) for p in leading):
            raise Untranslated(f"it pads other axes than those of the image by {mode}")
        both = both[-2:]
    first = next(i for i, p in enumerate(both) if any(p)) if any(map(any, both)) else len(both)
    order = [amount for p in reversed(both[first:]) for amount in p]
    if mode != "constant":
        order = [amount for p in reversed(both) for amount in p]
    value = fill if mode == "constant" else None
    return call.emit(aten.pad.default, x, order, mode, value)


def _cropped(
    call: Call, x: Value, both: list[tuple[int, int]]
) -> tuple[Value, list[tuple[int, int]]]:
    for axis, (before, after) in enumerate(both):
        if min(before, after) < 0:
            start, end = max(0, -before), x.shape[axis] + min(0, after)
            x = call.emit(aten.slice.Tensor, x, axis, start, end)
    return x, [(max(0, b), max(0, a)) for b, a in both]
