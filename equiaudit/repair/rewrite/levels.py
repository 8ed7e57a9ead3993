"""The origins of the levels: one per sample, axis and cumulative stride, chosen at run time.

Levels nest: the offset at stride S*s is congruent to the offset at S modulo S. The first
operation that goes down to a level chooses; all others of that level follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from math import prod
from typing import Any

import torch
import torch.fx as fx

from equiaudit.repair.rewrite.grid import Grid
from equiaudit.repair.rewrite.seams import seam_point
from equiaudit.repair.rewrite.twins import twin
from equiaudit.sampling.narrow import (
    choose,
    digit_bits,
    energy_digits,
    narrow_energy,
    narrow_ties,
)
from equiaudit.sampling.origin import pick_candidate, tie_break_table
from equiaudit.sampling.seam import canonical_position
from equiaudit.sampling.statistic import channel_energy, component_sums, quantise
from equiaudit.sampling.torus_hash import torus_hash

__all__ = ["ENERGY", "FeatureLevels", "InputLevels", "Levels"]

# Marks, in a node's meta, the energies (B, sh, sw) that an origin was chosen by; of digits (B, n,
# sh, sw) it says how many bits they have.
ENERGY = "equiaudit_energy"

_BARRED = -1e300  # finite, so that it can be written into a script


def _node(b: Any, function: Any, *args: Any) -> fx.Node:
    """Run a helper that returns one tensor."""
    result: fx.Node = b.call(function, *args)
    return result


class Levels(ABC):
    """Offsets by axis (0 rows, 1 columns) and stride, as nodes (B,) int64; None means zero."""

    def __init__(self) -> None:
        self.known: tuple[dict[int, fx.Node], dict[int, fx.Node]] = ({}, {})
        self.image: fx.Node | None = None

    @abstractmethod
    def open(self, b: Any, image: fx.Node, channels: int, size: tuple[int, int]) -> fx.Node:
        """Called once with the input image; returns the image that the net shall see."""

    @abstractmethod
    def descend(self, b: Any, source: fx.Node, channels: int, fine: Grid, coarse: Grid) -> None:
        """Called before a value goes down to `coarse`; chooses what is not yet chosen."""

    @abstractmethod
    def collapse(self, b: Any, grid: Grid) -> tuple[fx.Node | None, fx.Node | None]:
        """How far to roll a map so that its index 0 comes to the canonical position."""

    @abstractmethod
    def final(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """How far an output map at `stride` must be rolled to lie at offset 0 (or nearest)."""

    @abstractmethod
    def frame(self, b: Any) -> fx.Node:
        """The point (B, 2) of the image, rows and columns, that the tail has at index 0.

        It lies on the grids of all levels, so all have to be chosen before.
        """

    @abstractmethod
    def to_frame(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """How far to roll a map at `stride` so that this point comes to its index 0."""

    def offset(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """The offset of a level, None for zero."""
        known = self.known[axis]
        if stride <= 1 or not known:
            return None
        want = int(stride)
        if want not in known:
            above = min(s for s in known if s % want == 0)
            known[want] = _node(b, torch.remainder, known[above], want)
        return known[want]

    def distance(self, b: Any, axis: int, fine: Fraction, coarse: Fraction) -> fx.Node | None:
        """Steps of `fine` from its own index 0 to that of `coarse`: (B,) >= 0, or None."""
        low, high = self.offset(b, axis, fine), self.offset(b, axis, coarse)
        if high is None:
            return None
        return _node(b, _steps, high, low, fine.numerator, fine.denominator)


def _steps(high: Any, low: Any, numerator: int, denominator: int) -> Any:
    gap = high if low is None else high - low
    gap = gap * denominator if denominator != 1 else gap
    return gap if numerator == 1 else torch.div(gap, numerator, rounding_mode="floor")


class FeatureLevels(Levels):
    """Choose each level from the features that go down to it (MASS, section 4.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.views: fx.Node | None = None
        self.size = (0, 0)
        self.channels = 0
        self.points: list[fx.Node] | None = None

    def open(self, b: Any, image: fx.Node, channels: int, size: tuple[int, int]) -> fx.Node:
        """Hash the image once; the net sees it as it is."""
        self.image, self.channels, self.size = image, channels, size
        self.views = _node(b, torus_hash, image, channels, size)
        return image

    def descend(self, b: Any, source: fx.Node, channels: int, fine: Grid, coarse: Grid) -> None:
        """Choose among the candidates of both axes that the chosen levels still allow."""
        wanted = tuple(int(s) if s > 1 else 1 for s in coarse.strides)
        if all(self._settled(axis, s) for axis, s in enumerate(wanted)):
            return
        ratios = tuple(int(c / f) for c, f in zip(coarse.strides, fine.strides, strict=True))
        places = [self._places(b, axis, fine.strides[axis], n) for axis, n in enumerate(ratios)]
        allowed = [self._allowed(b, axis, places[axis], s) for axis, s in enumerate(wanted)]
        energy = self.scored(b, source, channels, fine, coarse)
        energy = _node(b, _permitted, energy, allowed)
        count = prod(fine.sizes) // prod(ratios)
        energy.meta[ENERGY] = digit_bits(count) if b.narrow else 0
        ties = b.call(_ties, self.views, self.size, wanted, places, ratios)
        chosen = b.call(_choose, energy, ties, places, ratios, count)
        for axis, stride in enumerate(wanted):
            if not self._settled(axis, stride):
                self.known[axis][stride] = chosen[axis]

    def scored(self, b: Any, source: fx.Node, channels: int, fine: Grid, coarse: Grid) -> fx.Node:
        """A score per candidate, (B, sh, sw) float64, the same bits wherever the content lies."""
        ratios = tuple(int(c / f) for c, f in zip(coarse.strides, fine.strides, strict=True))
        return _node(b, _energy, source, channels, fine.sizes, ratios)

    def _settled(self, axis: int, stride: int) -> bool:
        return stride == 1 or any(s % stride == 0 for s in self.known[axis])

    def _places(self, b: Any, axis: int, stride: Fraction, count: int) -> fx.Node:
        """Absolute offsets of the candidates, (B or 1, count)."""
        steps: fx.Node = b.constant(torch.arange(count)[None] * int(stride))
        start = self.offset(b, axis, stride)
        return steps if start is None else _node(b, _from_start, start, steps)

    def _allowed(self, b: Any, axis: int, places: fx.Node, stride: int) -> fx.Node | None:
        """Which candidates agree with the levels chosen so far, (B or 1, count); None: all."""
        limits = [s for s in self.known[axis] if stride % s == 0 or s % stride == 0]
        if not limits:
            return None
        finest = min(max(limits), stride)
        known = self.offset(b, axis, Fraction(finest))
        return _node(b, _congruent, places, known, finest)

    def collapse(self, b: Any, grid: Grid) -> tuple[fx.Node | None, fx.Node | None]:
        """The grid point nearest to the seam of the image."""
        starts = [self.offset(b, i, axis.stride) for i, axis in enumerate(grid.present)]
        strides = [int(axis.stride) for axis in grid.present]
        chosen: list[fx.Node] = b.call(
            seam_point, self.image, self.views, self.channels, self.size, starts, strides
        )
        return chosen[0], chosen[1]

    def frame(self, b: Any) -> fx.Node:
        """The point of the coarsest grid that is nearest to the seam of the image."""
        return _node(b, _stacked, self._points(b))

    def to_frame(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """Back by the steps from the grid's own index 0."""
        own = self.offset(b, axis, stride)
        point = self._points(b)[axis]
        return _node(b, _back_steps, point, own, stride.numerator, stride.denominator)

    def _points(self, b: Any) -> list[fx.Node]:
        if self.points is None:
            strides = [max((1, *known)) for known in self.known]
            starts = [self.offset(b, i, Fraction(s)) for i, s in enumerate(strides)]
            chosen = b.call(
                seam_point, self.image, self.views, self.channels, self.size, starts, strides
            )
            self.points = [
                _node(b, _on_grid, index, start, stride)
                for index, start, stride in zip(chosen, starts, strides, strict=True)
            ]
        return self.points

    def final(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """Zero at stride 1; else to the nearest multiple of the stride."""
        offset = self.offset(b, axis, stride)
        return None if offset is None else _node(b, _round_steps, offset, int(stride))


class InputLevels(Levels):
    """Choose from the image alone, roll it once, and keep every level at offset zero."""

    def __init__(self, total: tuple[int, int], *, whole: bool) -> None:
        super().__init__()
        self.total, self.whole = total, whole
        self.rolled: list[fx.Node] = []

    def open(self, b: Any, image: fx.Node, channels: int, size: tuple[int, int]) -> fx.Node:
        """Roll the image so that its seam, modulo the total stride, comes to index 0."""
        modulus = size if self.whole else self.total
        seam = b.call(canonical_position, image, channels, size)
        self.rolled = [b.call(_coordinate, seam, axis, modulus[axis]) for axis in (0, 1)]
        rolled: fx.Node = b.roll_image(image, channels, size, self.rolled)
        return rolled

    def descend(self, b: Any, source: fx.Node, channels: int, fine: Grid, coarse: Grid) -> None:
        """Nothing is left to choose."""

    def collapse(self, b: Any, grid: Grid) -> tuple[fx.Node | None, fx.Node | None]:
        """The image was rolled to its canonical position already."""
        return (None, None)

    def frame(self, b: Any) -> fx.Node:
        """Where the image was rolled to."""
        return _node(b, _stacked, self.rolled)

    def to_frame(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """Nothing is left to roll."""
        return None

    def final(self, b: Any, axis: int, stride: Fraction) -> fx.Node | None:
        """The roll of the image, in steps of the output; none where no level was opened."""
        if not self.rolled:
            return None
        if stride <= 1:
            return _node(b, _steps, self.rolled[axis], None, stride.numerator, stride.denominator)
        return _node(b, _round_steps, self.rolled[axis], int(stride))


def _energy(source: Any, channels: int, size: tuple[int, int], ratios: tuple[int, int]) -> Any:
    return component_sums(quantise(channel_energy(source, (channels, *size))), size, ratios)


@twin(_energy)
def _narrow_energy(
    source: Any, channels: int, size: tuple[int, int], ratios: tuple[int, int]
) -> Any:
    return narrow_energy(channel_energy(source, (channels, *size)), size, ratios)


def _ties(
    views: Any, size: tuple[int, int], wanted: tuple[int, int], places: list[Any], ratios: Any
) -> Any:
    """The hash sums of the candidates, (B, sh, sw), looked up at their absolute offsets."""
    return _looked_up(tie_break_table(views, size, wanted), wanted, places, ratios)


@twin(_ties)
def _narrow_ties(
    views: Any, size: tuple[int, int], wanted: tuple[int, int], places: list[Any], ratios: Any
) -> list[Any]:
    return [_looked_up(t, wanted, places, ratios) for t in narrow_ties(views, size, wanted)]


def _looked_up(table: Any, wanted: tuple[int, int], places: list[Any], ratios: Any) -> Any:
    """A table (B, *wanted) at the absolute offsets of the candidates: (B, sh * sw)."""
    table = table.reshape(-1, wanted[0] * wanted[1])
    index = places[0].unsqueeze(2) * wanted[1] + places[1].unsqueeze(1)
    flat = index.reshape(-1, ratios[0] * ratios[1])
    spread = flat + torch.zeros_like(torch.narrow(table, 1, 0, 1), dtype=torch.int64)
    return torch.gather(table, 1, spread)


def _permitted(energy: Any, allowed: list[Any]) -> Any:
    """The scores, below all where a candidate contradicts a level that is already chosen."""
    for axis, mask in enumerate(allowed):
        if mask is not None:
            energy = torch.where(mask.unsqueeze(2 - axis), energy, _BARRED)
    return energy


@twin(_permitted)
def _narrow_permitted(energy: Any, allowed: list[Any]) -> Any:
    """The digits, all -1 where a candidate contradicts a level that is already chosen."""
    for axis, mask in enumerate(allowed):
        if mask is not None:
            energy = torch.where(mask.unsqueeze(1).unsqueeze(3 - axis), energy, -1.0)
    return energy


def _choose(
    energy: Any, ties: Any, places: list[Any], ratios: tuple[int, int], count: int
) -> list[Any]:
    """Absolute offsets (B,) of the chosen candidate, rows and columns; each sums `count` values."""
    return _offsets(pick_candidate(energy, ties, ratios[0] * ratios[1]), places, ratios)


@twin(_choose)
def _narrow_choose(
    energy: Any, ties: list[Any], places: list[Any], ratios: tuple[int, int], count: int
) -> list[Any]:
    digits = [torch.select(energy, 1, k).flatten(1) for k in range(energy_digits(count))]
    return _offsets(choose([*digits, *ties]), places, ratios)


def _offsets(flat: Any, places: list[Any], ratios: tuple[int, int]) -> list[Any]:
    row = torch.div(flat, ratios[1], rounding_mode="floor")
    return [_take(places[0], row), _take(places[1], torch.remainder(flat, ratios[1]))]


def _take(places: Any, index: Any) -> Any:
    """places (B or 1, n) at index (B,): (B,)."""
    spread = places + torch.zeros_like(index).unsqueeze(1)
    return torch.gather(spread, 1, index.unsqueeze(1)).squeeze(1)


def _from_start(start: Any, steps: Any) -> Any:
    return start.unsqueeze(1) + steps


def _congruent(places: Any, known: Any, modulus: int) -> Any:
    return torch.eq(torch.remainder(places, modulus), known.unsqueeze(1))


def _coordinate(position: Any, axis: int, modulus: int) -> Any:
    return torch.remainder(torch.select(position, 1, axis), modulus)


def _stacked(points: list[Any]) -> Any:
    return torch.stack(points, 1)


def _on_grid(index: Any, start: Any, stride: int) -> Any:
    return index * stride if start is None else index * stride + start


def _back_steps(point: Any, own: Any, numerator: int, denominator: int) -> Any:
    return torch.neg(_steps(point, own, numerator, denominator))


def _round_steps(offset: Any, stride: int) -> Any:
    return torch.div(offset + stride // 2, stride, rounding_mode="floor")
