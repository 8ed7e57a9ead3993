"""Slices, splits, concatenations and gathers."""

from __future__ import annotations

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.constant import spread
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import BATCH, Extent, Untranslated, Value, is_batch

aten = torch.ops.aten


@op("Concat")
def concat(call: Call) -> Value:
    """Constants that were made for the file's own batch are spread over any."""
    values = [call.input(i) for i in range(len(call.inputs))]
    axis = call.attr("axis", 1) % values[0].ndim
    if axis != 0 and any(v.ndim and is_batch(v.shape[0]) for v in values):
        values = [_for_any_batch(call, v) for v in values]
    return values[0] if len(values) == 1 else call.emit(aten.cat.default, values, axis)


def _for_any_batch(call: Call, value: Value) -> Value:
    if value.shape[0] == 1 == call.fixed_batch:
        return spread(call, value, [BATCH, *value.shape[1:]])
    return value


@op("Slice")
def take_slice(call: Call) -> Value:
    """Bounds are attributes before opset 10, inputs since; a step below zero runs backwards."""
    x = call.input(0)
    if call.opset < 10:
        starts, ends, axes = call.attr("starts"), call.attr("ends"), call.attr("axes")
        steps = None
    else:
        starts, ends, axes, steps = (
            call.ints(call.optional(i + 1), name)
            for i, name in enumerate(("starts", "ends", "axes", "steps"))
        )
    if starts is None or ends is None:
        raise Untranslated("its bounds are missing")
    axes = axes if axes is not None else list(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(axes), strict=True):
        x = _sliced(call, x, axis % x.ndim, slice(start, end, step))
    return x


def _sliced(call: Call, x: Value, axis: int, where: slice) -> Value:
    size = x.shape[axis]
    start, end, step = where.indices(size)
    if step > 0:
        if (start, end, step) == (0, size, 1):
            return x
        if is_batch(size) or max(start, end) > BATCH // 2:
            raise Untranslated("it takes a part of the batch")
        return call.emit(aten.slice.Tensor, x, axis, start, max(start, end), step)
    first = torch.arange(start, end, step)
    return call.emit(aten.index_select.default, x, axis, call.constant(first, "order"))


@op("Split")
def split(call: Call) -> list[Value]:
    """In named sizes, or evenly with the last part smaller."""
    x = call.input(0)
    axis = call.attr("axis", 0) % x.ndim
    sizes = call.attr("split") if call.opset < 13 else call.ints(call.optional(1), "split")
    if sizes is None:
        parts = call.outputs
        call.require("num_outputs", parts)
        each = -(-x.shape[axis] // parts)
        sizes = [min(each, x.shape[axis] - i * each) for i in range(parts)]
    else:
        call.ignore("num_outputs")
    if is_batch(x.shape[axis]):
        raise Untranslated("it splits the batch")
    return call.emit_parts(aten.split_with_sizes.default, x, sizes, axis)


@op("Gather")
def gather(call: Call) -> Value:
    """One index, a list of them, or an array whose axes take the place of the gathered one."""
    x, indices = call.input(0), call.input(1)
    axis = call.attr("axis", 0) % x.ndim
    if not indices.is_constant:
        return _selected(call, x, axis, indices)
    size = x.shape[axis]
    places = call.ints(indices, "indices") or []
    if any(not -size <= place < size for place in places):
        raise Untranslated(f"it takes elements beyond the {size} there are")
    if indices.ndim == 0:
        return call.emit(aten.select.int, x, axis, places[0])
    positive = torch.tensor([place % size for place in places]).reshape(indices.shape)
    return _selected(call, x, axis, call.constant(positive, "indices"))


def _selected(call: Call, x: Value, axis: int, indices: Value) -> Value:
    flat = indices if indices.ndim == 1 else call.reshape(indices, [indices.data.numel()])
    taken = call.emit(aten.index_select.default, x, axis, flat)
    return call.reshape(taken, [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@op("GatherElements")
def gather_elements(call: Call) -> Value:
    """As `torch.gather`, with indices from zero on."""
    x, indices = call.input(0), call.input(1)
    if not indices.is_constant or bool((indices.data < 0).any()):
        raise Untranslated("its indices are computed from the image, or count from the end")
    axis = call.attr("axis", 0) % x.ndim
    if axis != 0 and is_batch(x.shape[0]):
        indices = _for_any_batch(call, indices)
    return call.emit(aten.gather.default, x, axis, indices)


@op("GatherND")
def gather_nd(call: Call) -> Value:
    """By constant indices into the first axes."""
    call.require("batch_dims", 0)
    return call.emit(aten.index.Tensor, call.input(0), _indices_nd(call))


@op("ScatterND")
def scatter_nd(call: Call) -> Value:
    """Values put in at constant indices into the first axes."""
    call.require("reduction", "none")
    x, updates = call.input(0), call.input(2)
    return call.emit(aten.index_put.default, x, _indices_nd(call), updates)


def _indices_nd(call: Call) -> list[Value]:
    """One array of indices for each indexed axis."""
    x, indices = call.input(0), call.input(1)
    if not indices.is_constant or indices.sized:
        raise Untranslated("its indices are computed from the image")
    parts = list(indices.data.unbind(-1))
    sizes = torch.tensor(x.shape[: len(parts)])
    if bool(((indices.data < -sizes) | (indices.data >= sizes)).any()):
        raise Untranslated("its indices lie outside its input")
    return [call.constant(part.contiguous(), "indices") for part in parts]


@op("Tile")
def tile(call: Call) -> Value:
    """Whole repetitions."""
    repeats = call.ints(call.input(1), "repeats") or []
    x = call.input(0)
    if any(is_batch(r) for r in repeats):
        sizes = [n * r for n, r in zip(x.shape, repeats, strict=True)]
        if any(n != 1 and r != 1 for n, r in zip(x.shape, repeats, strict=True)):
            raise Untranslated("it repeats several elements over the batch")
        return spread(call, x, sizes)
    return call.emit(aten.repeat.default, x, [Extent(r) for r in repeats])


@op("Trilu")
def trilu(call: Call) -> Value:
    """The upper or the lower triangle."""
    target = aten.triu.default if call.attr("upper", 1) else aten.tril.default
    diagonal = call.ints(call.optional(1), "diagonal") or [0]
    return call.emit(target, call.input(0), diagonal[0])
