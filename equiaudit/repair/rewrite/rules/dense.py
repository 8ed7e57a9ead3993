"""Matrix products and attention: over channels, over positions, and between positions."""

from __future__ import annotations

import math
from typing import Any

import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, tensor_args
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Axis, Grid, Pairs
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, pair_rule, rule
from equiaudit.sampling.order_free import order_free_attention, order_free_product

PAIR_BIAS = "a bias per pair of positions, which belongs to absolute places"
_PER_POSITION = "a matrix product with a weight per position of the image"
_EFFECT = "sums in an order that depends on position"


@rule(["linear"])
def linear(call: Call) -> Step:
    """Acts on the last dimension, which must not be an image axis."""
    grid: Grid = call.grid(call.args["input"])
    if -1 in grid.dims:
        raise Refuse("a linear layer with a weight per position of the image")
    return verbatim(call, grid)


@rule(["mm", "einsum", "addmm", "baddbmm"])
def other_product(call: Call) -> Step:
    """Free of the image: stays."""
    if any(call.varies(n) for n in tensor_args(call.node)):
        raise Refuse("a matrix product over the positions of the image")
    return verbatim(call)


@pair_rule(["matmul", "bmm"])
@rule(["matmul", "bmm"])
def product(call: Call) -> Step:
    """Over channels, over positions or between them: in sums that have no order.

    A product over channels too: the last columns of one go through other code.
    """
    a, b = (node for node in call.node.args[:2] if isinstance(node, fx.Node))
    if not call.varies(a) and not call.varies(b):
        return verbatim(call)
    _check_rows(call, a, b)
    out = product_of(call, a, b)
    count = _counted(call, a, -1)

    def emit(builder: Builder, node: fx.Node) -> Any:
        left, right = _settled(builder, call, a), _settled(builder, call, b)
        return builder.call(order_free_product, left, right, count)

    return Step(out, emit, call.plan(_EFFECT) if _sums(call, a, -1) else None)


@rule(["scaled_dot_product_attention"])
def attention(call: Call) -> Step:
    """Between positions that carry no place, or between channels: in sums that have no order."""
    args = call.args
    q, k, v = args["query"], args["key"], args["value"]
    if not any(call.varies(n) for n in tensor_args(call.node)):
        return verbatim(call)
    if args["is_causal"] or args["dropout_p"] or args.get("enable_gqa"):
        raise Refuse("attention that is causal, grouped or drops values")
    scores = product_of(call, q, k, turned=True)
    mask = args["attn_mask"]
    _check_mask(call, mask, scores)
    out = _between(scores, call.grid(v), call, v)
    counts = (_counted(call, q, -1), _counted(call, k, -2))
    scale = args["scale"] or 1 / math.sqrt(counts[0])

    def emit(b: Builder, node: fx.Node) -> Any:
        parts = [_settled(b, call, n) for n in (q, k, v)]
        return b.call(order_free_attention, *parts, scale, counts, b.mapped(mask))

    return Step(out, emit, call.plan(_EFFECT))


def _check_rows(call: Call, a: fx.Node, b: fx.Node) -> None:
    """Positions of a whole map, as rows beside each window, are places that a bias tells apart."""
    if {*call.grid(a).dims} != {-2} or max(call.grid(b).dims, default=-1) >= -2:
        return
    beside = [node for user in call.node.users for node in tensor_args(user)]
    for node in beside:
        told = node is not call.node and len(shape_of(node)) > 1 and shape_of(node)[-2] > 1
        if told and not _of_image(node):
            raise Refuse(f"attention of windows to positions of the whole image, with {PAIR_BIAS}")


def _of_image(node: fx.Node) -> bool:
    """Whether a value is made of the input."""
    seen, left = {node}, [node]
    while left:
        one = left.pop()
        if one.op == "placeholder":
            return True
        left += [n for n in one.all_input_nodes if n not in seen]
        seen.update(one.all_input_nodes)
    return False


def _check_mask(call: Call, mask: fx.Node | None, scores: Grid | Pairs) -> None:
    """A bias may tell apart what lies in one window, and not the windows of an image."""
    if mask is None:
        return
    shape, value = shape_of(mask), mask.meta["val"]
    dims = scores.dims if isinstance(scores, Grid) else (-2, -1)
    if call.varies(mask) or not value.is_floating_point():
        raise Refuse("attention with a mask")
    if any(len(shape) >= -dim and shape[dim] != 1 for dim in dims):
        raise Refuse(f"attention with {PAIR_BIAS}")


def _settled(b: Builder, call: Call, node: fx.Node) -> fx.Node:
    return b.settle(node, call.grid(node))


def _sums(call: Call, node: fx.Node, dim: int) -> bool:
    state = call.state(node)
    return isinstance(state, Pairs) or dim in call.grid(node).dims


def _counted(call: Call, node: fx.Node, dim: int) -> int:
    state = call.state(node)
    if isinstance(state, Pairs):
        return state.columns.extents[-1]
    return call.grid(node).circled(shape_of(node))[dim]


def product_of(call: Call, a: fx.Node, b: fx.Node, *, turned: bool = False) -> Grid | Pairs:
    """What a @ b varies over; with `turned`, a @ b^T."""
    one, two = call.state(a), call.state(b)
    if turned:
        two = _turned(call.grid(b))
    if isinstance(one, Pairs):
        return _between(one, call.grid(b), call, b)
    if isinstance(two, Pairs):
        if one is None or call.grid(a).settled() != _at(two.rows, -1):
            raise Refuse(_PER_POSITION)
        return two.columns
    left, right = call.grid(a).settled(), two if isinstance(two, Grid) else FLAT
    right = right.settled()
    if min(len(shape_of(a)), len(shape_of(b))) < 2:
        raise Refuse("a matrix product of a vector over positions")
    common = any(a and b for a, b in zip(left.axes, right.axes, strict=True))
    if {-1} & left.shared or {-2} & right.shared:
        raise Refuse("it sums over positions and other axes at once")
    clean = not left.shared and not right.shared
    if common and clean and {*left.dims} == {-2} and {*right.dims} == {-1}:
        return Pairs(left, right)
    axes = [_axis(*pair, (a, b)) for pair in zip(left.axes, right.axes, strict=True)]
    return Grid(*axes)


def _axis(a: Axis | None, b: Axis | None, nodes: tuple[fx.Node, fx.Node]) -> Axis | None:
    """Where one image axis lies in a product; None where it is summed over, or in neither."""
    if a is None and b is None:
        return None
    if a is not None and b is not None:
        summed, beside = (a.dim, b.dim) == (-1, -2), a.dim < -2 and a == b
        if a.stride != b.stride or not (summed or beside):
            raise Refuse("a matrix product of maps that do not lie on one grid")
        return None if summed else a
    axis, other, folded, kept = (a, nodes[1], -1, -2) if a is not None else (b, nodes[0], -2, -1)
    assert axis is not None
    shape = shape_of(other)
    spread = axis.dim < -2 and (len(shape) < -axis.dim or shape[axis.dim] == 1)
    if axis.dim == folded or not (axis.dim == kept or spread):
        raise Refuse(_PER_POSITION)
    return axis


def _turned(grid: Grid) -> Grid:
    """The grid of the transposed matrices."""
    return grid.moved({d: d if d < -2 else -3 - d for d in grid.dims})


def _at(grid: Grid, dim: int) -> Grid:
    return grid.moved(dict.fromkeys(grid.dims, dim))


def _between(scores: Grid | Pairs, values: Grid, call: Call, node: fx.Node) -> Grid:
    """Scores times values."""
    if isinstance(scores, Pairs):
        if values.settled() != _at(scores.columns, -2):
            raise Refuse(_PER_POSITION)
        return scores.rows
    axes = [
        _axis(*pair, (call.node, node))
        for pair in zip(scores.axes, values.settled().axes, strict=True)
    ]
    return Grid(*axes)
