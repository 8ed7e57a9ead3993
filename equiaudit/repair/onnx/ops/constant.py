"""Constants, and what is known of a tensor before it is computed."""

from __future__ import annotations

import math
from typing import Any

import torch

from equiaudit.repair.onnx.call import Call, readable
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import BATCH, Extent, Untranslated, Value, is_batch

aten = torch.ops.aten

_LARGEST = 1 << 26
"""Elements of a constant that is made from its shape."""
_FORMS = {
    "value": None,
    "value_float": torch.float32,
    "value_floats": torch.float32,
    "value_int": torch.int64,
    "value_ints": torch.int64,
}


@op("Constant")
def constant(call: Call) -> Value:
    """A tensor, or numbers."""
    for form, dtype in _FORMS.items():
        value: Any = call.attr(form)
        if isinstance(value, torch.Tensor):
            return call.constant(value)
        if value is not None:
            return call.constant(torch.tensor(value, dtype=dtype))
    raise Untranslated("it is a sparse tensor or a text")


@op("ConstantOfShape")
def constant_of_shape(call: Call) -> Value:
    """One element, spread; over the batch as an operator of the graph."""
    shape = call.ints(call.input(0), "shape") or []
    fill = call.attr("value", torch.zeros(1)).reshape(())
    return spread(call, call.constant(fill, "fill"), shape)


@op("Expand")
def expand(call: Call) -> Value:
    """Broadcast to a shape, both ways."""
    x, wanted = call.input(0), call.ints(call.input(1), "shape") or []
    longest = max(x.ndim, len(wanted))
    ours, theirs = ([1] * (longest - len(s)) + [*s] for s in (x.shape, wanted))
    shape = [_common(call, a, b) for a, b in zip(ours, theirs, strict=True)]
    return x if tuple(shape) == x.shape else spread(call, x, shape)


def _common(call: Call, ours: int, theirs: int) -> int:
    """The size that two sizes broadcast to; the file's own batch stands for any."""
    if 1 in (ours, theirs):
        return ours * theirs
    if ours != theirs and not (is_batch(ours) and theirs == call.fixed_batch):
        raise Untranslated(f"it cannot spread {ours} elements over {theirs}")
    return ours


def spread(call: Call, x: Value, shape: list[int]) -> Value:
    """`aten.expand`; over the batch it stays an operator, so that any batch fits."""
    batches = [size for size in shape if is_batch(size)]
    if not batches or not x.is_constant:
        if x.is_constant and math.prod(shape) > _LARGEST:
            raise Untranslated(f"its result of {readable(shape)} is absurdly large")
        return call.emit(aten.expand.default, x, [Extent(s) for s in shape])
    return call.spread_constant(x, shape)


@op("Shape", "Size")
def shape_of(call: Call) -> Value:
    """Known while the graph is rebuilt; the batch is in it as a multiple of itself."""
    x = call.input(0)
    start, end = call.attr("start", 0), call.attr("end")
    sizes = x.shape[slice(start, end)] if call.op == "Shape" else math.prod(x.shape)
    return Value(torch.tensor(sizes, dtype=torch.int64), sized=not x.is_constant)


@op("Range")
def arange(call: Call) -> Value:
    """Of constants; over the batch as an operator of the graph."""
    first, last, step = (call.input(i) for i in range(3))
    bounds = [call.number(v, "bound") for v in (first, last, step)]
    start, end, by = (float(b or 0.0) for b in bounds)
    if last.sized and is_batch(int(end)) and (start, by) == (0, 1):
        return call.count(int(end))
    if by == 0 or abs(end - start) / abs(by) > BATCH // 2:
        raise Untranslated("it counts over the batch, or without end")
    values = torch.arange(start, end, by, dtype=torch.float64).to(first.data.dtype)
    return call.constant(values)
