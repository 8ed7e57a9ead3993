"""What attention does with a value per pair of positions: all that may be done with one."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import SYMBOL, shape_of, tensor_args
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import Grid, Pairs
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.dense import PAIR_BIAS
from equiaudit.repair.rewrite.rules.norm import softmax_over
from equiaudit.repair.rewrite.rules.passing import EXACT, TRANSCENDENTAL, in_double, verbatim
from equiaudit.repair.rewrite.rules.registry import Call, pair_rule


@pair_rule(EXACT)
def elementwise(call: Call) -> Step:
    """Pair by pair; what meets them must be the same for all of them."""
    return verbatim(call, _joined(call))


@pair_rule(TRANSCENDENTAL)
def transcendental(call: Call) -> Step:
    """Pair by pair, rounded once from float64."""
    return Step(_joined(call), in_double)


def _joined(call: Call) -> Pairs:
    inputs = list(tensor_args(call.node))
    pairs = {state for state in map(call.state, inputs) if isinstance(state, Pairs)}
    if len(pairs) > 1:
        raise Refuse("it joins values of different pairs of positions")
    for node in inputs:
        state, shape = call.state(node), shape_of(node)
        if isinstance(state, Pairs):
            continue
        if not isinstance(state, Grid) or state.present or set(shape[-2:]) - {1}:
            raise Refuse(f"it adds or multiplies {PAIR_BIAS}")
    (found,) = pairs
    return found


@pair_rule(["softmax", "_softmax"])
def softmax(call: Call) -> Step:
    """Over one of the two positions."""
    x = call.args["self"]
    ndim = len(shape_of(x))
    dim = (call.args["dim"] % ndim) - ndim
    if dim not in (-2, -1):
        raise Refuse("a softmax over heads of attention between positions")
    return softmax_over(call, x, dim, call.state(x))


@pair_rule(["transpose"])
def transpose(call: Call) -> Step:
    """The two positions change places."""
    pairs, ndim = call.state(call.args["self"]), len(shape_of(call.node))
    if {call.args[k] % ndim - ndim for k in ("dim0", "dim1")} != {-2, -1}:
        raise Refuse("it moves one of a pair of positions elsewhere")
    assert isinstance(pairs, Pairs)
    rows, columns = (
        grid.moved(dict.fromkeys(grid.dims, dim))
        for grid, dim in ((pairs.columns, -2), (pairs.rows, -1))
    )
    return verbatim(call, Pairs(rows, columns))


@pair_rule(["view", "reshape", "_unsafe_view"])
def view(call: Call) -> Step:
    """Heads and batch join or part; the pairs stay as they are."""
    x = call.args["self"]
    old, new, pairs = shape_of(x), shape_of(call.node), call.state(x)
    assert isinstance(pairs, Pairs)
    if old[-2:] != new[-2:]:
        raise Refuse("it lays pairs of positions out anew")
    sizes: list[Any] = [-1 if size % SYMBOL == 0 else size for size in new[:-2]]
    sizes += [pairs.rows.extents[-2], pairs.columns.extents[-1]]

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        return b.aten(torch.ops.aten.reshape.default, b.value(x), sizes)

    return Step(pairs, emit)
