"""Views and permutations: where the image axes go."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import SYMBOL, shape_of
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.collapse import collapsed
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule

_FLATTENS = "flattens the map at fixed places"


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


def reshaped(call: Call, x: fx.Node) -> Step:
    """Find where the image axes go; a view that merges them with channels is a collapse."""
    grid = call.grid(x)
    if not grid.present:
        return verbatim(call)
    old, new = shape_of(x), shape_of(call.node)
    out = _arrived(old, new, grid)
    if out is not None:
        return Step(out, _view_of(x, grid, out, new))
    if _joins_channels(old, new) and grid.is_map:
        return collapsed(call, x, grid, _FLATTENS)
    if all(old[axis.dim] == 1 and axis.size == 1 for axis in grid.present if axis.fits):
        return verbatim(call)
    raise Refuse("it mixes positions of the image with other axes, as windows of attention do")


def _arrived(old: tuple[int, ...], new: tuple[int, ...], grid: Grid) -> Grid | None:
    """Where the image axes lie after a view, each by itself or in one line; None: nowhere."""
    spans = [None if axis is None else _span(old, grid, axis) for axis in grid.axes]
    places = [None if span is None else _place(new, *span) for span in spans]
    h, w = spans
    if h is not None and w is not None and None in places and _whole(old, grid):
        rows_first = h[1] == w[0] * w[1]
        places = [_place(new, h[0] * w[0], w[1]) if rows_first else None] * 2
    found = [
        None if axis is None or place is None else axis.at(place)
        for axis, place in zip(grid.settled().axes, places, strict=True)
    ]
    lost = any(a is not None and b is None for a, b in zip(grid.axes, found, strict=True))
    return None if lost else Grid(*found)


def _span(old: tuple[int, ...], grid: Grid, axis: Axis) -> tuple[int, int]:
    """Elements of an axis, and how many of memory lie between two of them."""
    after = _product(old[len(old) + axis.dim + 1 :])
    if grid.in_line:
        return axis.size, after * (grid.sizes[1] if axis is grid.h else 1)
    return old[axis.dim], after


def _whole(old: tuple[int, ...], grid: Grid) -> bool:
    """Whether the image axes are as long as their circles, so that a line of them is one too."""
    return all(old[dim] == size for dim, size in grid.extents.items())


def _place(new: tuple[int, ...], size: int, after: int) -> int | None:
    """The new dimension (negative) of `size` elements that lie `after` apart, or None."""
    for place in range(-len(new), 0):
        if new[place] == size and _product(new[len(new) + place + 1 :]) == after:
            return place
    return None


def _product(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _joins_channels(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether everything but the batch ends in one dimension."""
    return len(new) == 2 and new[0] == old[0] and new[1] == _product(old[1:])


def _view_of(x: fx.Node, grid: Grid, out: Grid, new: tuple[int, ...]) -> Any:
    def emit(b: Builder, node: fx.Node) -> fx.Node:
        shape: list[Any] = out.circled(new)
        batch = [i for i, size in enumerate(shape) if size % SYMBOL == 0]
        if len(batch) > 1:
            raise Refuse("it splits the batch over several dimensions")
        for i in batch:
            shape[i] = -1
        return b.aten(torch.ops.aten.reshape.default, b.settle(x, grid), shape)

    return emit


@rule(["expand", "expand_as"])
def expand(call: Call) -> Step:
    """A value without position, spread over a map, is the same at every position."""
    x = call.args["self"]
    grid, shape = call.grid(x), shape_of(call.node)
    like = call.grid(call.args.get("other"))
    known = grid if grid.present else like
    if grid.present or like.present:
        out = Grid(*(axis and _fresh(axis) for axis in known.axes))
        return Step(out, _expanded(x, out, shape))
    return verbatim(call, FLAT)


def _fresh(axis: Axis) -> Axis:
    return Axis(axis.dim, axis.stride, axis.length)


def _expanded(x: fx.Node, out: Grid, shape: tuple[int, ...]) -> Any:
    def emit(b: Builder, node: fx.Node) -> fx.Node:
        sizes: list[Any] = [-1 if n % SYMBOL == 0 else n for n in out.circled(shape)]
        spread = b.aten(torch.ops.aten.expand.default, b.value(x), sizes)
        return b.aten(torch.ops.aten.clone.default, spread)

    return emit
