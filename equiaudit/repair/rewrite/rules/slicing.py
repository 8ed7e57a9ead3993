"""Slices, splits and concatenations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, tensor_args
from equiaudit.repair.rewrite.builder import Builder, Window
from equiaudit.repair.rewrite.grid import FLAT, Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.passing import copy_node, settled_copy, verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.rules.spread import laid_over
from equiaudit.repair.rewrite.rules.windows import descend, sampled

_TOKENS = "it takes or adds tokens at fixed places of a line of positions"


def _negative(dim: int, ndim: int) -> int:
    return (dim % ndim) - ndim


@rule(["slice"])
def strided_slice(call: Call) -> Step:
    """With a step: a strided operation like any other. Without: a crop, kept as a lead."""
    args, x = call.args, call.args["self"]
    grid, shape = call.grid(x), shape_of(x)
    dim = _negative(args["dim"], len(shape))
    if dim not in grid.dims:
        return verbatim(call, grid)
    extent, step = shape[dim], args["step"]
    start = _bound(args["start"], extent, 0)
    crowded = grid.in_line or dim in grid.shared
    if crowded and (start, step, _bound(args["end"], extent, extent)) != (0, 1, extent):
        raise Refuse(_TOKENS)
    if step > 1:
        return _sample(call, x, dim, start, step)
    taken = _bound(args["end"], extent, extent) - start
    if (start, taken) == (0, extent):
        return Step(grid, lambda b, node: b.value(x))
    plan = call.plan("crops at a fixed border")
    return Step(_led(grid, dim, -start), lambda b, node: _cloned(b, x), plan)


def _bound(value: int | None, extent: int, default: int) -> int:
    if value is None:
        return default
    return max(0, value + extent) if value < 0 else min(value, extent)


def _led(grid: Grid, dim: int, by: int) -> Grid:
    """The grid with its lead along `dim` changed."""
    return Grid(*(axis and _lead(axis, by if axis.dim == dim else 0) for axis in grid.axes))


def _lead(axis: Axis, by: int) -> Axis:
    return replace(axis, lead=axis.lead + by)


def _cloned(b: Builder, x: fx.Node) -> fx.Node:
    """A copy, as the original makes: a later in-place operation must not reach x."""
    return b.aten(torch.ops.aten.clone.default, b.value(x))


def _sample(call: Call, x: fx.Node, dim: int, start: int, step: int) -> Step:
    grid = call.map(x)
    steps = (step, 1) if dim == -2 else (1, step)
    firsts = (start, 0) if dim == -2 else (0, start)
    full = sampled(grid.settled(), steps)
    kept = [
        axis if s == 1 else new for axis, new, s in zip(grid.axes, full.axes, steps, strict=True)
    ]
    out = Grid(*kept)

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        windows = [
            Window(first - (axis.lead if s > 1 else 0), axis.size // s, s)
            for axis, first, s in zip(grid.present, firsts, steps, strict=True)
        ]
        rolls = descend(b, x, grid, out)
        pair = (windows[0], windows[1])
        return b.window(b.value(x), shape_of(x)[1], grid, pair, rolls)

    plan = call.plan("samples a fixed grid", stride=steps, uneven=shape_of(x)[dim] % step != 0)
    return Step(out, emit, plan)


@rule(["select", "narrow", "index_select"])
def select(call: Call) -> Step:
    """One or some elements of a dimension that is not an image axis."""
    x = call.args["self"]
    grid, ndim = call.grid(x), len(shape_of(x))
    dim = _negative(call.args["dim"], ndim)
    if dim in grid.dims:
        raise Refuse("it takes elements at fixed positions of the image")
    if len(shape_of(call.node)) == ndim:
        return verbatim(call, grid)
    return verbatim(call, grid.moved({d: d + (d < dim) for d in range(-ndim, 0)}))


@rule(["chunk", "split", "split_with_sizes", "unbind"])
def split(call: Call) -> Step:
    """Parts along a dimension that is not an image axis."""
    x = call.args["self"]
    grid, ndim = call.grid(x), len(shape_of(x))
    dim = _negative(call.args.get("dim") or 0, ndim)
    if dim in grid.dims:
        raise Refuse("it splits the image at fixed positions")
    if "unbind" in str(call.node.target):
        grid = grid.moved({d: d + (d < dim) for d in range(-ndim, 0)})
    return Step(tuple(grid for _ in call.node.meta["val"]), copy_node)


@rule(["getitem"])
def getitem(call: Call) -> Step:
    """One of several outputs."""
    source: Any = call.node.args[0]
    index: Any = call.node.args[1]
    state = call.state(source)
    if not isinstance(state, tuple):
        return verbatim(call)

    def emit(b: Builder, node: fx.Node) -> Any:
        value = b.env[source]
        return value[index] if isinstance(value, tuple) else b.copy(node)

    return Step(state[index], emit)


@rule(["cat", "concatenate", "stack"])
def cat(call: Call) -> Step:
    """Channels of maps on one grid."""
    inputs = list(tensor_args(call.node))
    grids = {n: call.grid(n) for n in inputs}
    present = [g for g in grids.values() if g.present]
    if not present:
        return verbatim(call)
    ndim = len(shape_of(call.node))
    dim = _negative(call.args["dim"] or 0, ndim)
    stacked = "stack" in str(call.node.target)
    if not stacked and dim in present[0].dims:
        raise Refuse("it joins maps side by side, at fixed positions")
    settled = {
        g.settled()
        for n, g in grids.items()
        if g.present or stacked or not laid_over(n, present[0])
    }
    if settled - {present[0].settled()}:
        raise Refuse(_why(list(settled)))
    out = present[0].settled()
    if stacked:
        out = out.moved({d: d if d > dim else d - 1 for d in range(-ndim + 1, 0)})
    if len({g.leads for g in present}) == 1 and not stacked:
        return verbatim(call, present[0])
    return Step(out, settled_copy(grids))


def _why(grids: list[Grid]) -> str:
    if FLAT in grids:
        return "it joins a map with values that belong to absolute positions"
    places = sorted(f"{g.strides[0]}x{g.strides[1]}" for g in grids)
    return f"it joins maps on different grids (strides {', '.join(places)})"


@rule(["pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d"])
def pad(call: Call) -> Step:
    """Padding of the image becomes a lead: what reads the map wraps around instead."""
    args, x = call.args, call.args["self"]
    grid = call.grid(x)
    amounts: list[int] = args["pad"] if "pad" in args else args["padding"]
    ndim = len(shape_of(x))
    by_dim = {-1 - i: (amounts[2 * i], amounts[2 * i + 1]) for i in range(len(amounts) // 2)}
    spatial = {d: p for d, p in by_dim.items() if d in grid.dims}
    if not any(any(p) for p in spatial.values()):
        return verbatim(call, grid)
    if any(any(p) for d, p in by_dim.items() if d not in grid.dims and -d <= ndim):
        raise Refuse("it pads channels and image in one go")
    if grid.in_line or grid.shared:
        raise Refuse(_TOKENS)
    out = grid
    for dim, (before, _) in spatial.items():
        out = _led(out, dim, before)
    rows, cols = by_dim.get(-2, (0, 0)), by_dim.get(-1, (0, 0))
    plan = call.plan("pads at the border", padding=(*rows, *cols), uneven=_odd(rows, cols))
    return Step(out, lambda b, node: _cloned(b, x), plan)


def _odd(rows: tuple[int, int], cols: tuple[int, int]) -> bool:
    return rows[0] != rows[1] or cols[0] != cols[1]
