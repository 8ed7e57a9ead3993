"""Agreement maps as drawings: what the template needs, in numbers and plain strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.scales import COLOURS, Domain, colour_index, nice_ticks, share_domain
from equiaudit.results import GridMap

PLOT = 264
"""Side of the plot area, in SVG user units."""
_MOST_SIDE, _MOST_CELLS = 65, 14_000
"""Cells per side of a map, and of all maps of a section together; larger maps are summed over
blocks, or the file would grow past its limit."""
_FEWEST, _LARGEST_BLOCK = 5, 4
"""A sparse map is summed over blocks of up to 4 x 4 px until a cell holds 5 predictions on
average; single ones are noise."""
_MOST_TICKS = 7
_CELL_BYTES = 140
_CLIPPED = 0.01
"""Share of the lowest cells that the colour scale leaves to its darkest step: a few cells with
little in them would stretch it until the pattern fades."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, `at` in user units."""

    at: float
    text: str


@dataclass(frozen=True)
class Cell:
    """One square: column, row, a step of the colour scale, and what hovering says."""

    x: int
    y: int
    colour: int
    title: str


@dataclass(frozen=True)
class HeatMap:
    """One map: `cells` on an axis of `side` cells drawn `scale` user units wide each."""

    kind: str
    columns: int
    rows: int
    scale: float
    cells: tuple[Cell, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    origin: tuple[float, float] | None
    """Where the cell of no shift is, in cells."""
    description: str

    @property
    def width(self) -> float:
        """Of the plot area, user units."""
        return self.columns * self.scale

    @property
    def height(self) -> float:
        """Of the plot area, user units."""
        return self.rows * self.scale


def bytes_of(maps: Iterable[HeatMap]) -> int:
    """About what they take of the page."""
    return _CELL_BYTES * sum(len(each.cells) for each in maps)


@dataclass(frozen=True)
class Legend:
    """The colour scale that the maps of a section share."""

    ticks: tuple[Tick, ...]
    steps: int


def heat_maps(
    grids: Sequence[tuple[str, GridMap]], largest_cell: float = PLOT, *, sparse: bool = False
) -> tuple[tuple[HeatMap, ...], Legend]:
    """The maps of all kinds on one colour scale, and its legend.

    `largest_cell` bounds the drawn size of a cell, so that a small map stays small. With
    `sparse`, cells with too few predictions are summed over blocks of offsets.
    """
    side = min(_MOST_SIDE, math.isqrt(_MOST_CELLS // max(len(grids), 1)))
    block = max((_block(grid, side, sparse) for _, grid in grids), default=1)
    small = [(kind, Blocks.of(grid, block)) for kind, grid in grids]
    shares = sorted(share for _, blocks in small for _, share in _shares(blocks.grid))
    domain = share_domain(shares[int(_CLIPPED * len(shares)) :])
    maps = tuple(_drawn(kind, blocks, domain, largest_cell) for kind, blocks in small)
    return maps, Legend(_legend_ticks(domain), len(COLOURS))


def _legend_ticks(domain: Domain) -> tuple[Tick, ...]:
    """Both ends of the scale, and the round values between them that have room."""
    margin = 0.15 * (domain.high - domain.low)
    inner = (v for v in nice_ticks(domain, 4) if domain.low + margin < v < domain.high - margin)
    values = (domain.low, *inner, domain.high)
    places = 0 if all(abs(100 * v - round(100 * v)) < 1e-6 for v in values) else 1
    return tuple(Tick(round(domain.place(v, PLOT), 2), figures.share(v, places)) for v in values)


def _block(grid: GridMap, side: int, sparse: bool) -> int:
    """Side of the blocks, in cells, that make `grid` fit and, if `sparse`, hold enough."""
    fitting = -(-max(len(grid.rows), len(grid.cols)) // side)
    if not sparse:
        return fitting
    density = sum(map(sum, grid.total)) / (len(grid.rows) * len(grid.cols))
    filled = math.ceil(math.sqrt(_FEWEST / density)) if density > 0 else 1
    return max(fitting, min(filled, _LARGEST_BLOCK))


@dataclass(frozen=True)
class Blocks:
    """A map summed over square blocks of `block` cells, with the axes it had before."""

    grid: GridMap
    rows: tuple[float, ...]
    cols: tuple[float, ...]
    block: int

    @classmethod
    def of(cls, grid: GridMap, block: int) -> Blocks:
        """`grid` in blocks, the last ones narrower where the side is no multiple."""
        summed = GridMap(
            rows=grid.rows[::block],
            cols=grid.cols[::block],
            agree=_block_sums(grid.agree, block),
            total=_block_sums(grid.total, block),
        )
        return cls(summed, grid.rows, grid.cols, block)

    def where(self, i: int, j: int) -> str:
        """``dy 3, dx -5``, or the ranges of a block."""
        return f"dy {self._range(self.rows, i)}, dx {self._range(self.cols, j)}"

    @property
    def px(self) -> float:
        """Side of a block."""
        step = self.rows[1] - self.rows[0] if len(self.rows) > 1 else 1
        return self.block * step

    def _range(self, axis: Sequence[float], index: int) -> str:
        own = axis[index * self.block : (index + 1) * self.block]
        return f"{own[0]:g}" if len(own) == 1 else f"{own[0]:g} to {own[-1]:g}"


def _block_sums(counts: Sequence[Sequence[int]], block: int) -> tuple[tuple[int, ...], ...]:
    bands = [counts[i : i + block] for i in range(0, len(counts), block)]
    return tuple(
        tuple(sum(sum(row[j : j + block]) for row in band) for j in range(0, len(band[0]), block))
        for band in bands
    )


def _shares(grid: GridMap) -> list[tuple[tuple[int, int], float]]:
    """((row, column), share) of the cells where something was tried."""
    return [
        ((i, j), agree / total)
        for i, (kept, tried) in enumerate(zip(grid.agree, grid.total, strict=True))
        for j, (agree, total) in enumerate(zip(kept, tried, strict=True))
        if total
    ]


def _drawn(kind: str, blocks: Blocks, domain: Domain, largest_cell: float) -> HeatMap:
    grid = blocks.grid
    shares = _shares(grid)
    scale = min(PLOT / max(len(grid.rows), len(grid.cols), 1), largest_cell)
    cells = tuple(
        Cell(j, i, colour_index(share, domain), _hover(blocks, i, j, share))
        for (i, j), share in shares
    )
    return HeatMap(
        kind=visible(kind),
        columns=len(grid.cols),
        rows=len(grid.rows),
        scale=round(scale, 4),
        cells=cells,
        x_ticks=_ticks(blocks.cols, scale / blocks.block),
        y_ticks=_ticks(blocks.rows, scale / blocks.block),
        origin=_origin(grid) if blocks.block == 1 else None,
        description=_description(blocks, shares),
    )


def _hover(blocks: Blocks, i: int, j: int, share: float) -> str:
    return f"{blocks.where(i, j)}: {figures.share(share)} of {blocks.grid.total[i][j]:,}"


def _ticks(values: Sequence[float], step: float) -> tuple[Tick, ...]:
    """Round offsets of an axis (all of them when few), each `step` user units from the last."""
    few = len(values) <= _MOST_TICKS + 1
    chosen: set[float] = set(values) if few else _halves(values) or _round_values(values)
    return tuple(
        Tick(round((k + 0.5) * step, 2), f"{value:g}".replace("-", "−"))
        for k, value in enumerate(values)
        if value in chosen
    )


def _halves(values: Sequence[float]) -> set[float]:
    """The ends, their halves and zero where the reach is even: strides are powers of two."""
    reach = max(abs(values[0]), abs(values[-1]))
    return {k * reach // 2 for k in range(-2, 3)} if reach and reach % 2 == 0 else set()


def _round_values(values: Sequence[float]) -> set[float]:
    return {round(value) for value in nice_ticks(Domain(values[0], values[-1]), _MOST_TICKS)}


def _origin(grid: GridMap) -> tuple[float, float] | None:
    """Where (0, 0) is left blank; None on a map that has counts there or lacks it."""
    if 0 not in grid.rows or 0 not in grid.cols:
        return None
    i, j = grid.rows.index(0), grid.cols.index(0)
    return None if grid.total[i][j] else (j + 0.5, i + 0.5)


def _description(blocks: Blocks, shares: Sequence[tuple[tuple[int, int], float]]) -> str:
    """The map in words, for who cannot see it."""
    if not shares:
        return "No offset was tried."
    grid = blocks.grid
    (i, j), lowest = min(shares, key=lambda pair: pair[1])
    (k, m), highest = max(shares, key=lambda pair: pair[1])
    kept = sum(map(sum, grid.agree)) / sum(map(sum, grid.total))
    size = f" of {blocks.px:g} × {blocks.px:g} px" if blocks.block > 1 else ""
    return (
        f"{len(shares):,} of {len(grid.rows) * len(grid.cols):,} cells{size} tried; "
        f"{figures.share(kept)} of labels kept in all, "
        f"lowest {figures.share(lowest)} at {blocks.where(i, j)}, "
        f"highest {figures.share(highest)} at {blocks.where(k, m)}."
    )
