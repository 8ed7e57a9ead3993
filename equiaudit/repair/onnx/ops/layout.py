"""Shapes and permutations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Untranslated, Value, is_batch, lifted, lowered

aten = torch.ops.aten


@op("Reshape")
def reshape(call: Call) -> Value:
    """Where the file has one batch size, it is put back as free into the new shape."""
    x = call.input(0)
    wanted = call.ints(call.input(1), "shape") or []
    allow_zero = bool(call.attr("allowzero", 0))
    batch = call.fixed_batch
    if batch is None or not any(map(is_batch, x.shape)) or any(map(is_batch, wanted)):
        return call.reshape(x, _resolved(x.shape, wanted, allow_zero))
    fixed = _resolved(lowered(x.shape, batch), wanted, allow_zero)
    return call.reshape(x, lifted(x.shape, fixed, batch))


def _resolved(shape: Sequence[int], wanted: Sequence[int], allow_zero: bool) -> list[int]:
    """0 keeps an axis, -1 takes what is left."""
    sizes = [shape[i] if s == 0 and not allow_zero else s for i, s in enumerate(wanted)]
    if sizes.count(-1) > 1 or any(s < -1 for s in sizes):
        raise Untranslated(f"its shape is {sizes}")
    if -1 in sizes:
        known = -math.prod(sizes)
        if known == 0:
            raise Untranslated("its shape leaves a size open beside an empty axis")
        sizes[sizes.index(-1)] = math.prod(shape) // known
    return sizes


@op("Flatten")
def flatten(call: Call) -> Value:
    """Into two axes."""
    x = call.input(0)
    axis = call.attr("axis", 1)
    axis += x.ndim if axis < 0 else 0
    if axis == 1 and x.ndim > 1:
        return call.emit(aten.flatten.using_ints, x, 1)
    return call.reshape(x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


@op("Transpose")
def transpose(call: Call) -> Value:
    """All axes reversed where none are named."""
    x = call.input(0)
    order = call.attr("perm", list(range(x.ndim))[::-1])
    if order == sorted(order):
        return x
    return call.emit(aten.permute.default, x, order)


@op("Squeeze")
def squeeze(call: Call) -> Value:
    """The named axes, or all of one element."""
    x = call.input(0)
    axes = call.axes(13)
    ones = [i for i, size in enumerate(x.shape) if size == 1]
    dims = ones if axes is None else sorted(a % x.ndim for a in axes)
    dropped = range(x.ndim) if axes is None else dims
    if call.fixed_batch == 1 and any(is_batch(x.shape[d]) for d in dropped):
        raise Untranslated("it drops the batch axis")
    if not set(dims) <= set(ones):
        raise Untranslated("it drops an axis of several elements")
    return call.emit(aten.squeeze.dims, x, dims)


@op("Unsqueeze")
def unsqueeze(call: Call) -> Value:
    """Axes count in the result."""
    x = call.input(0)
    axes = call.axes(13) or []
    for axis in sorted(a % (x.ndim + len(axes)) for a in axes):
        x = call.emit(aten.unsqueeze.default, x, axis)
    return x


@op("DepthToSpace")
def depth_to_space(call: Call) -> Value:
    """Channels in the order C r r are torch's own; r r C is brought to it."""
    x, ratio = call.image(), call.attr("blocksize")
    mode = call.attr("mode", "DCR")
    if mode == "DCR":
        x = _regrouped(call, x, [ratio * ratio, x.shape[1] // (ratio * ratio)])
    elif mode != "CRD":
        raise Untranslated(f"its mode is {mode!r}")
    return call.emit(aten.pixel_shuffle.default, x, ratio)


@op("SpaceToDepth")
def space_to_depth(call: Call) -> Value:
    """Channels come out in the order r r C."""
    x, ratio = call.image(), call.attr("blocksize")
    y = call.emit(aten.pixel_unshuffle.default, x, ratio)
    return _regrouped(call, y, [x.shape[1], ratio * ratio])


def _regrouped(call: Call, x: Value, groups: list[int]) -> Value:
    """Channels a*b as b*a: index i*b + j goes to j*a + i."""
    batch, _, height, width = x.shape
    split = call.reshape(x, [batch, *groups, height, width])
    swapped = call.emit(aten.permute.default, split, [0, 2, 1, 3, 4])
    return call.reshape(swapped, x.shape)
