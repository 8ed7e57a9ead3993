"""Views and permutations: where the image axes go."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import SYMBOL, shape_of
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.rules.views import RETURN, reshaped


@rule(["permute"])
def permute(call: Call) -> Step:
    """The axes move with their dimensions."""
    dims, grid = call.args["dims"], call.grid(call.args["self"])
    ndim = len(dims)
    where = {(old % ndim) - ndim: new - ndim for new, old in enumerate(dims)}
    return verbatim(call, grid.moved(where))


@rule(["transpose"])
def transpose(call: Call) -> Step:
    """Two dimensions change places."""
    x = call.args["self"]
    ndim = len(shape_of(x))
    one, two = ((call.args[k] % ndim) - ndim for k in ("dim0", "dim1"))
    where = {d: d for d in range(-ndim, 0)} | {one: two, two: one}
    return verbatim(call, call.grid(x).moved(where))


@rule(["unsqueeze"])
def unsqueeze(call: Call) -> Step:
    """A dimension of one element appears."""
    x = call.args["self"]
    ndim = len(shape_of(x)) + 1
    new = (call.args["dim"] % ndim) - ndim
    where = {d: d if d > new else d - 1 for d in range(-ndim + 1, 0)}
    return verbatim(call, call.grid(x).moved(where))


@rule(["squeeze"])
def squeeze(call: Call) -> Step:
    """Dimensions of one element disappear."""
    x = call.args["self"]
    shape = shape_of(x)
    ndim = len(shape)
    dims = call.args.get("dim")
    listed = range(ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = sorted((d % ndim) - ndim for d in listed if shape[d % ndim] == 1)
    grid = call.grid(x)
    if set(gone) & set(grid.dims):
        raise Refuse("it drops an image axis that has one element at this input size")
    where = {d: d + sum(g > d for g in gone) for d in range(-ndim, 0)}
    return verbatim(call, grid.moved(where))


@rule(["flatten"])
def flatten(call: Call) -> Step:
    """Channels and image into one vector: a collapse, unless the image is one element."""
    return reshaped(call, call.args["self"])


@rule(["view", "reshape", "_unsafe_view", "unflatten", "view_as", "reshape_as"])
def view(call: Call) -> Step:
    """The image axes must come through whole; sizes are those of the circle."""
    return reshaped(call, call.args["self"])


@rule(["expand", "expand_as"])
def expand(call: Call) -> Step:
    """A value without position, spread over a map, is the same at every position."""
    x = call.args["self"]
    grid, shape = call.grid(x), shape_of(call.node)
    like = call.grid(call.args.get("other"))
    known = grid if grid.present else like
    if grid.present or like.present:
        return Step(known.settled(), _expanded(x, grid, known.settled(), shape))
    return verbatim(call, FLAT)


def _expanded(x: fx.Node, grid: Grid, out: Grid, shape: tuple[int, ...]) -> Any:
    def emit(b: Builder, node: fx.Node) -> fx.Node:
        sizes: list[Any] = [-1 if n % SYMBOL == 0 else n for n in out.circled(shape)]
        spread = b.aten(torch.ops.aten.expand.default, b.settle(x, grid), sizes)
        return b.aten(torch.ops.aten.clone.default, spread)

    return emit


@rule(["repeat"])
def repeat(call: Call) -> Step:
    """Copies along dimensions that are not image axes; a view may merge them with one."""
    grid, repeats = call.grid(call.args["self"]), call.args["repeats"]
    if any(repeats[dim] != 1 for dim in grid.dims):
        raise Refuse("it lays copies of the map side by side")
    return verbatim(call, grid)


@rule(["repeat_interleave"])
def repeat_interleave(call: Call) -> Step:
    """Each element several times in a row: along an image axis, a nearest upsampling."""
    x, repeats, dim = call.args["self"], call.args["repeats"], call.args.get("dim")
    grid, ndim = call.grid(x), len(shape_of(x))
    if not grid.present:
        return verbatim(call)
    if dim is None or not isinstance(repeats, int):
        raise Refuse("it repeats a flattened map, or each element another number of times")
    dim = dim % ndim - ndim
    if dim not in grid.dims:
        return verbatim(call, grid)
    if grid.in_line or dim in grid.shared:
        raise Refuse("it repeats tokens of a line of positions")
    out = Grid(*(a and a.scaled(Fraction(1, repeats if a.dim == dim else 1)) for a in grid.axes))

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        y = b.aten(node.target, b.settle(x, grid), repeats, dim)
        return b.forth(y, shape_of(node), out, grid)

    return Step(out, emit, call.plan(RETURN))
