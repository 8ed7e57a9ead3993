"""Reductions over the image: global pools, spatial means, squeeze-and-excite."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.collapse import LISTED, collapsed, is_laid_out
from equiaudit.repair.rewrite.rules.passing import back_to, join, settled_copy, verbatim
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.sampling.mean import order_free_mean, order_free_total
from equiaudit.sampling.order_free import order_free_norm, order_free_variance

__all__ = ["counted", "pool_whole_map", "reduced"]


def pool_whole_map(call: Call, x: fx.Node, grid: Grid, *, mean: bool) -> Step:
    """A pool over the whole map: an order-free mean, or a maximum, which has no order."""
    flat = Grid()
    if mean:
        effect = "sums in an order that depends on position"
        return Step(flat, _mean_of(x, [-2, -1], grid, keepdim=True), call.plan(effect))

    def emit(b: Builder, node: fx.Node) -> Any:
        peak = b.call(torch.amax, b.value(x), [-2, -1], keepdim=True)
        return (peak, None) if several else peak

    several = isinstance(call.node.meta["val"], tuple)
    return Step((flat, None) if several else flat, emit)


def _mean_of(x: fx.Node, dims: list[int], grid: Grid, *, keepdim: bool) -> Any:
    def emit(b: Builder, node: fx.Node) -> fx.Node:
        count = counted(x, dims, grid)
        result: fx.Node = b.call(order_free_mean, b.value(x), dims, count, keepdim)
        return result

    return emit


def counted(x: fx.Node, dims: list[int], grid: Grid) -> int:
    """How many elements `dims` (negative) of x hold, its image axes as long as their circles."""
    shape = grid.circled(shape_of(x))
    return math.prod(shape[dim] for dim in dims)


def reduced(grid: Grid, dims: list[int], ndim: int, *, keepdim: bool) -> Grid:
    """The grid after a reduction over `dims` (negative)."""
    axes: list[Axis | None] = []
    for axis in grid.axes:
        if axis is None or axis.dim in dims:
            axes.append(None)
        else:
            lost = 0 if keepdim else sum(axis.dim < d for d in dims)
            axes.append(axis.at(axis.dim + lost))
    return Grid(*axes)


def _dims(call: Call, ndim: int) -> list[int]:
    dims = call.args.get("dim")
    if dims is None or dims == []:
        return list(range(-ndim, 0))
    listed = [dims] if isinstance(dims, int) else dims
    return [d - ndim if d >= 0 else d for d in listed]


@rule(["mean", "sum", "amax", "amin"])
def reduction(call: Call) -> Step:
    """Over the image: order-free. Over channels: in float64, so that vector tails agree."""
    x = call.args["self"]
    grid, ndim = call.grid(x), len(shape_of(x))
    if not grid.present:
        return verbatim(call)
    dims, keepdim = _dims(call, ndim), bool(call.args.get("keepdim"))
    if -ndim in dims:
        raise Refuse("it mixes the images of a batch")
    _check_shared(grid, dims)
    out = reduced(grid, dims, ndim, keepdim=keepdim)
    kind = short_name(call.node)
    if kind in ("amax", "amin"):
        return Step(out, settled_copy({x: grid}) if any(grid.leads) else verbatim(call).emit)
    plan = call.plan("sums in an order that depends on position")
    if kind == "mean":
        return Step(out, _mean_of(x, dims, grid, keepdim=keepdim), plan)
    return Step(out, _sum_of(x, dims, counted(x, dims, grid), keepdim), plan)


def _sum_of(x: fx.Node, dims: list[int], count: int, keepdim: bool) -> Any:
    def emit(b: Builder, node: fx.Node) -> fx.Node:
        result: fx.Node = b.call(order_free_total, b.value(x), dims, count, keepdim)
        return result

    return emit


@rule(["std", "var", "var_mean", "std_mean"])
def spread(call: Call) -> Step:
    """Variance or standard deviation, and with `_mean` the mean too; each sum has no order."""
    args, x = call.args, call.args["self"]
    grid, kind = call.grid(x), short_name(call.node)
    several = kind.endswith("_mean")
    if not grid.present:
        return verbatim(call, (FLAT, FLAT) if several else FLAT)
    dims, keepdim, out = _reduction(call)
    unbiased = args.get("unbiased", args.get("correction"))
    correction = 1.0 if unbiased is None else float(unbiased)
    count = counted(x, dims, grid)

    def emit(b: Builder, node: fx.Node) -> Any:
        value = b.settle(x, grid)
        found = b.call(order_free_variance, value, dims, count, correction, keepdim)
        found = b.call(torch.sqrt, found) if kind.startswith("std") else found
        found = b.call(back_to, found, value)
        return (found, b.call(order_free_mean, value, dims, count, keepdim)) if several else found

    plan = call.plan("sums in an order that depends on position")
    return Step((out, out) if several else out, emit, plan)


@rule(["linalg_vector_norm", "norm"])
def length(call: Call) -> Step:
    """The Euclidean length, as a sum without an order; the largest and the sum of sizes."""
    args, x = call.args, call.args["self"]
    grid = call.grid(x)
    if not grid.present:
        return verbatim(call)
    dims, keepdim, out = _reduction(call)
    count = counted(x, dims, grid)
    power = args.get("ord", args.get("p"))
    power = 2 if power is None else power
    if power not in (1, 2, math.inf):
        raise Refuse(f"a norm of order {power} over the image")

    def emit(b: Builder, node: fx.Node) -> Any:
        value = b.settle(x, grid)
        if power == 2:
            return b.call(order_free_norm, value, dims, count, keepdim)
        sizes = b.call(torch.abs, value)
        if power == 1:
            return b.call(order_free_total, sizes, dims, count, keepdim)
        return b.call(torch.amax, sizes, dims, keepdim=keepdim)

    return Step(out, emit, call.plan("sums in an order that depends on position"))


def _check_shared(grid: Grid, dims: list[int]) -> None:
    if set(dims) & grid.shared:
        raise Refuse("it sums over positions and other axes at once")


def _reduction(call: Call) -> tuple[list[int], bool, Grid]:
    """Dimensions, whether they are kept, and the grid of the result, of each image by itself."""
    x = call.args["self"]
    ndim, keepdim = len(shape_of(x)), bool(call.args.get("keepdim"))
    dims = _dims(call, ndim)
    if -ndim in dims:
        raise Refuse("it mixes the images of a batch")
    _check_shared(call.grid(x), dims)
    return dims, keepdim, reduced(call.grid(x).settled(), dims, ndim, keepdim=keepdim)


@rule(["max", "min"])
def extremum(call: Call) -> Step:
    """Over a channel dimension: position by position (values and indices)."""
    args = call.args
    if "other" in args:
        return join(call)
    grid = call.grid(args["self"])
    if not grid.present:
        return verbatim(call)
    if "dim" not in args:
        raise Refuse("a maximum over the whole batch")
    ndim = len(shape_of(args["self"]))
    dims = _dims(call, ndim)
    if set(dims) & set(grid.dims):
        raise Refuse("the index of a maximum over positions depends on the position")
    out = reduced(grid, dims, ndim, keepdim=bool(args.get("keepdim")))
    return Step((out, out), verbatim(call).emit)


@rule(["argmax", "argmin"])
def arg_extremum(call: Call) -> Step:
    """Over a channel dimension: position by position."""
    grid = call.grid(call.args["self"])
    if not grid.present and is_laid_out(call, call.args["self"]):
        raise Refuse(LISTED)
    if not grid.present:
        return verbatim(call)
    dim, ndim = call.args.get("dim"), len(shape_of(call.args["self"]))
    if dim is None or (dim - ndim if dim >= 0 else dim) in grid.dims:
        raise Refuse("the index of a maximum over positions depends on the position")
    out = reduced(grid, _dims(call, ndim), ndim, keepdim=bool(call.args.get("keepdim")))
    return Step(out, verbatim(call).emit)


@rule(["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def adaptive(call: Call) -> Step:
    """To one element: a global pool. To k: nothing, a strided pool, or a collapse."""
    x, size = call.args["self"], tuple(call.args["output_size"])
    if not call.grid(x).present:
        return verbatim(call)
    grid = call.map(x)
    mean = short_name(call.node) == "adaptive_avg_pool2d"
    if size == (1, 1):
        return pool_whole_map(call, x, grid, mean=mean)
    if not mean:
        raise Refuse(f"an adaptive maximum to {size[0]}x{size[1]} cells")
    if all(axis.fits and axis.size == n for axis, n in zip(grid.present, size, strict=True)):
        return Step(grid, lambda b, node: b.value(x), call.plan("keeps the map as it is"))
    return collapsed(call, x, grid, f"pools to {size[0]}x{size[1]} cells at fixed places")
