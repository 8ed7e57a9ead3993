"""Where the image's rows and columns are in a tensor, and how coarse: the stride's algebra.

One `Grid` per tensor; each function is what one family of operators does to it. None means the
axes can no longer be told.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

_FINEST = 1000
"""The largest denominator of a scale that is a fraction: what float32 tells from its neighbours."""


@dataclass(frozen=True)
class Grid:
    """The dims that hold rows and columns, and their strides in input px."""

    rows: int
    columns: int
    stride: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))

    def sides(self, shape: Sequence[int]) -> tuple[int, int]:
        """(H, W) of a tensor of `shape` on this grid."""
        return shape[self.rows], shape[self.columns]


def coarsened(grid: Grid, factors: Sequence[Fraction | int]) -> Grid:
    """After sampling every `factors`-th row and column; a fraction for upsampling."""
    rows, columns = grid.stride
    return replace(grid, stride=(rows * factors[0], columns * factors[1]))


def resized(
    grid: Grid,
    before: Sequence[int],
    after: Sequence[int],
    scales: Sequence[float] | None = None,
) -> Grid:
    """After resampling by `scales` (rows, columns), or by the ratio of the sides; any rational."""
    if scales is not None and all(scale > 0 for scale in scales):
        return coarsened(grid, [1 / Fraction(s).limit_denominator(_FINEST) for s in scales])
    old, new = grid.sides(before), grid.sides(after)
    return coarsened(grid, [Fraction(a, b) for a, b in zip(old, new, strict=True)])


def sliced(grid: Grid, dim: int, step: int) -> Grid:
    """After taking every `step`-th element along `dim`."""
    return coarsened(grid, [step if dim == own else 1 for own in (grid.rows, grid.columns)])


def permuted(grid: Grid, order: Sequence[int]) -> Grid:
    """After a permutation: output dim i was input dim `order[i]`."""
    rank = len(order)
    places = [dim % rank for dim in order]
    return replace(grid, rows=places.index(grid.rows), columns=places.index(grid.columns))


def reshaped(grid: Grid, before: Sequence[int], after: Sequence[int]) -> Grid | None:
    """After a reshape that keeps the rows and columns apart; a split keeps the coarse part."""
    rows, columns = (_tracked(dim, before, after) for dim in (grid.rows, grid.columns))
    if rows is None or columns is None or rows == columns:
        return None
    factors = (before[grid.rows] // after[rows], before[grid.columns] // after[columns])
    return coarsened(replace(grid, rows=rows, columns=columns), factors)


def _tracked(dim: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    """The last output dim with as many elements to its left, that holds all or a coarse part."""
    left = math.prod(before[:dim])
    found = None
    for place, side in enumerate(after):
        aligned = math.prod(after[:place]) == left
        if aligned and side and before[dim] % side == 0 and (side > 1 or before[dim] == 1):
            found = place
    return found


def inherited(grids: Sequence[tuple[Grid, Sequence[int]]], after: Sequence[int]) -> Grid | None:
    """The coarsest of the inputs whose rows and columns the output of shape `after` still has."""
    kept = [_kept(grid, before, after) for grid, before in grids]
    return max((g for g in kept if g), key=lambda grid: grid.stride, default=None)


def _kept(grid: Grid, before: Sequence[int], after: Sequence[int]) -> Grid | None:
    sides = grid.sides(before)
    if len(after) == len(before) and grid.sides(after) == sides:
        return grid
    if len(after) == 4 and tuple(after[2:]) == sides:
        return replace(grid, rows=2, columns=3)
    return _one_dim_more_or_less(grid, list(before), list(after))


def _one_dim_more_or_less(grid: Grid, before: list[int], after: list[int]) -> Grid | None:
    """After a reduction, a selection or an insertion of another dim."""
    for dim in range(len(before)):
        if dim not in (grid.rows, grid.columns) and before[:dim] + before[dim + 1 :] == after:
            return replace(
                grid,
                rows=grid.rows - (grid.rows > dim),
                columns=grid.columns - (grid.columns > dim),
            )
    for dim in range(len(after)):
        if after[:dim] + after[dim + 1 :] == before:
            return replace(
                grid,
                rows=grid.rows + (grid.rows >= dim),
                columns=grid.columns + (grid.columns >= dim),
            )
    return None


class Grids:
    """The grids of a run's tensors, by any key; a key with None comes from the image somehow.

    Attention takes maps apart into windows or tokens and puts them together again: a 4-D
    tensor whose grid was lost on the way has that of the last map of its size.
    """

    def __init__(self, key: Hashable, grid: Grid, shape: Sequence[int]) -> None:
        self._found: dict[Hashable, tuple[Grid, Sequence[int]] | None] = {}
        self._by_sides: dict[tuple[int, ...], Grid] = {}
        self._image = grid.sides(shape)
        self._lost = False
        self.note(key, grid, shape)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._found

    def known(self, keys: Iterable[Hashable]) -> list[tuple[Grid, Sequence[int]]]:
        """Grid and shape of those of `keys` that have one."""
        return [found for key in keys if (found := self._found.get(key)) is not None]

    def maps(self, keys: Iterable[Hashable]) -> bool:
        """Whether one of `keys` is a map of more than one position."""
        return any(max(grid.sides(shape)) > 1 for grid, shape in self.known(keys))

    def note(self, key: Hashable, grid: Grid | None, shape: Sequence[int]) -> bool:
        """Record the grid of a tensor, None: the last of its size; whether there is one."""
        grid = grid or self._last_of_its_size(shape)
        self._found[key] = None if grid is None else (grid, tuple(shape))
        if grid is not None and len(shape) == 4:
            self._by_sides[grid.sides(shape)] = grid
        return grid is not None

    def lose(self) -> None:
        """An operator did something to a map that is not known: so is the total stride."""
        self._lost = True

    def total(self) -> tuple[int, int] | None:
        """The shift, px, per axis that moves every map by whole px.

        The least common multiple over the 4-D maps with more than one row and column. A map
        whose stride is a fraction, 4/3, lies as before after its numerator, 4. None where
        something about a map is not known, or no shift smaller than the image does it.
        """
        found = self.known(self._found)
        maps = [g.stride for g, shape in found if len(shape) == 4 and min(g.sides(shape)) > 1]
        if self._lost or not maps:
            return None
        rows, columns = (math.lcm(*(s[axis].numerator for s in maps)) for axis in (0, 1))
        within = (rows == 1 or rows < self._image[0], columns == 1 or columns < self._image[1])
        return (rows, columns) if all(within) else None

    def _last_of_its_size(self, shape: Sequence[int]) -> Grid | None:
        if len(shape) != 4:
            return None
        for rows, columns in ((2, 3), (1, 2)):
            found = self._by_sides.get((shape[rows], shape[columns]))
            if found is not None and min(shape[rows], shape[columns]) > 1:
                return replace(found, rows=rows, columns=columns)
        return None
