"""Views: where the image axes go when a tensor is cut into other dimensions.

An axis spans a stretch of memory. In the new dimensions it may be
1. a dimension of its own, or with the other axis a line, as tokens are;
2. one part of a dimension beside others, such as windows counted along the batch;
3. cut in two, as by windows: a level whose stride is the window, and places in it;
4. joined by the places in a window, on the way back to the finer map;
5. joined with everything but the batch: a collapse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import SYMBOL, shape_of
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse, Step
from equiaudit.repair.rewrite.rules.collapse import collapsed
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.rules.registry import Call

RETURN = "returns to a finer grid"
_FLATTENS = "flattens the map at fixed places"
_MIXES = "it mixes positions of the image with other axes"
_CUTS = "cuts the map into windows at fixed places"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Span:
    """`size` steps of an axis, `apart` elements of memory from one to the next."""

    axis: Axis
    size: int
    apart: int

    @property
    def stop(self) -> int:
        return self.size * self.apart


def reshaped(call: Call, x: fx.Node) -> Step:
    """Find where the image axes go."""
    grid = call.grid(x)
    if not grid.present:
        return verbatim(call)
    old, new = shape_of(x), shape_of(call.node)
    out = _plain(old, new, grid)
    if out is not None:
        return Step(out, _view_of(x, grid, out, new))
    joins = len(new) == 2 and new[0] == old[0] and new[1] == prod(old[1:])
    if joins and (grid.is_map or ((len(old), grid.dims) == (4, (-3, -2)) and not grid.shared)):
        return collapsed(call, x, grid, _FLATTENS)
    if all(old[axis.dim] == 1 and axis.size == 1 for axis in grid.present if axis.fits):
        return verbatim(call)
    cut = [None if a is None else _cut(_span(old, grid, a), new) for a in grid.axes]
    coarse = Grid(*(None if span is None else span.axis for span in cut))
    out = Grid(*_landed(cut, new))
    crowded = out.shared or out.in_line or coarse.strides != grid.strides
    if crowded and (any(axis.lead for axis in grid.present) or not _whole(old, grid)):
        raise Refuse(f"{_MIXES}, where padding or a crop has moved its ends")
    if coarse.strides == grid.strides == out.strides:
        return Step(out, _view_of(x, grid, out, new))
    return _between_levels(call, x, grid, coarse, out)


def _plain(old: Shape, new: Shape, grid: Grid) -> Grid | None:
    """Both axes in dimensions of their own or in one line, or None."""
    spans = [None if axis is None else _span(old, grid, axis) for axis in grid.axes]
    places = [None if span is None else _place(new, span.size, span.apart) for span in spans]
    h, w = spans
    if h and w and None in places and _whole(old, grid) and h.apart == w.stop:
        places = [_place(new, h.size * w.size, w.apart)] * 2
    found = [
        None if axis is None or place is None else _alone(axis, place)
        for axis, place in zip(grid.settled().axes, places, strict=True)
    ]
    lost = any(a is not None and b is None for a, b in zip(grid.axes, found, strict=True))
    return None if lost else Grid(*found)


def _alone(axis: Axis, place: int) -> Axis:
    return replace(axis, dim=place, shared=False, inner=1)


def _span(old: Shape, grid: Grid, axis: Axis) -> _Span:
    after = prod(old[len(old) + axis.dim + 1 :])
    if axis.shared:
        return _Span(axis, axis.size, after * axis.inner)
    if grid.in_line:
        return _Span(axis, axis.size, after * (grid.sizes[1] if axis is grid.h else 1))
    return _Span(axis, old[axis.dim], after)


def _whole(old: Shape, grid: Grid) -> bool:
    """Whether the image axes are as long as their circles."""
    return all(axis.fits for axis in grid.present) and all(
        old[dim] == size for dim, size in grid.extents.items()
    )


def _place(new: Shape, size: int, apart: int) -> int | None:
    """The new dimension (negative) of `size` elements that lie `apart`, or None."""
    for place in range(-len(new), 0):
        if new[place] == size and prod(new[len(new) + place + 1 :]) == apart:
            return place
    return None


def _cut(span: _Span, new: Shape) -> _Span | None:
    """What is left of an axis whose lower part becomes places in a window; None: nothing."""
    ends = [prod(new[i + 1 :]) for i in range(len(new))]
    inside = sorted({end for end in ends if span.apart < end < span.stop})
    chain = [span.apart, *inside, span.stop]
    if any(b % a for a, b in pairwise(chain)):
        raise Refuse(_MIXES)
    if span.size == span.axis.size == 1:
        return None
    if not inside:
        return span
    ratio = inside[-1] // span.apart
    if span.axis.stride < 1:
        raise Refuse("it cuts a map that is finer than the input into windows")
    return _Span(span.axis.scaled(ratio), span.size // ratio, inside[-1])


def _landed(spans: Sequence[_Span | None], new: Shape) -> list[Axis | None]:
    """Axes in the new dimensions, beside what else lies there."""
    places = [None if span is None else _holder(span, new) for span in spans]
    found: list[Axis | None] = []
    for span, place, other in zip(spans, places, reversed(places), strict=True):
        if span is None or place is None:
            found.append(None)
            continue
        low = prod(new[len(new) + place + 1 :])
        inner = span.apart // low
        alone = new[place] == span.size
        fills = low * new[place] == span.stop and inner % SYMBOL != 0
        joins = place != other and fills and span.size > 1
        if alone or joins:
            finer = span.axis.scaled(Fraction(1, 1 if alone else inner))
            found.append(_alone(finer, place))
        else:
            found.append(replace(span.axis, dim=place, shared=True, inner=inner))
    return _as_line(found, new)


def _holder(span: _Span, new: Shape) -> int:
    for place in range(-len(new), 0):
        low = prod(new[len(new) + place + 1 :])
        high = low * new[place]
        inside = low <= span.apart and span.stop <= high and new[place] > 1
        if inside and not span.apart % low and not high % span.stop:
            return place
    raise Refuse(_MIXES)


def _as_line(found: list[Axis | None], new: Shape) -> list[Axis | None]:
    """Two axes that fill one dimension, row by row, share it with nothing."""
    h, w = found
    if h and w and h.dim == w.dim and new[h.dim] == h.size * w.size:
        if (h.inner, w.inner) != (w.size, 1):
            raise Refuse(_MIXES)
        return [_alone(h, h.dim), _alone(w, w.dim)]
    return found


def _between_levels(call: Call, x: fx.Node, grid: Grid, coarse: Grid, out: Grid) -> Step:
    """Down to the level of windows and up again: aligned before, rolled back after."""
    new = shape_of(call.node)
    down = coarse.strides != grid.strides
    if down and (len(shape_of(x)) != 4 or None in grid.axes or grid.in_line or grid.shared):
        raise Refuse(f"{_MIXES}, and cuts windows out of them")
    if out.strides != coarse.strides and (new[0] != SYMBOL or -len(new) in out.dims):
        raise Refuse(f"{_MIXES} and the batch")

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        value = _aligned(b, x, grid, coarse) if down else b.settle(x, grid)
        y = b.aten(torch.ops.aten.reshape.default, value, _sizes(out.circled(new)))
        return b.forth(y, new, out, coarse)

    if not down:
        return Step(out, emit, call.plan(RETURN))
    ratios = [int(c / f) for c, f in zip(coarse.strides, grid.strides, strict=True)]
    return Step(out, emit, call.plan(_CUTS, stride=(ratios[0], ratios[1])))


def _aligned(b: Builder, x: fx.Node, grid: Grid, coarse: Grid) -> fx.Node:
    """x rolled so that a window of the chosen origin begins at index 0."""
    shape, value = shape_of(x), b.settle(x, grid)
    order = [0, *({-3, -2, -1} - {*grid.dims}), *grid.dims]
    channels, where = shape[order[1]], dict(zip(grid.dims, (-2, -1), strict=True))
    source = value if order == [0, -3, -2, -1] else b.call(torch.permute, value, order)
    b.levels.descend(b, source, channels, grid.moved(where), coarse.moved(where))
    back = [b.back(i, *pair) for i, pair in enumerate(zip(grid.axes, coarse.axes, strict=True))]
    return b.roll_dims(value, shape, grid, (back[0], back[1]))


def _sizes(shape: Sequence[int]) -> list[Any]:
    """A shape whose batch is left to be found."""
    sizes = [-1 if size % SYMBOL == 0 else size for size in shape]
    if sizes.count(-1) > 1:
        raise Refuse("it splits the batch over several dimensions")
    return sizes


def _view_of(x: fx.Node, grid: Grid, out: Grid, new: Shape) -> Any:
    sizes = _sizes(out.circled(new))

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        return b.aten(torch.ops.aten.reshape.default, b.settle(x, grid), [*sizes])

    return emit
