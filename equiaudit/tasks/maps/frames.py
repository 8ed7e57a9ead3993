"""The frame of the unshifted window: where a shifted output belongs in it.

A shift by (dy, dx) puts the content of pixel p at p + (dy, dx). Moved back, a shifted map is
compared with the unshifted one wherever both windows hold the content: everywhere for
circular shifts, on the overlap of the two windows for crop and zero-pad shifts.

By fractions, p comes to lie between 2 or 4 pixels. A map is moved back by the nearest whole
number of pixels, and what is left of the move is made good where maps are compared: of labels,
that of any of these pixels will do (`settled`), as there is no label between two; of images, the
unshifted one is moved by the rest (`expected`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from equiaudit.kinds import Kind, Offset, Resampled, Slices, Whole, around, is_between

_MOST_CELLS = 32
"""Cells along the longer side of a heat map."""


def border_bins(window: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """(low, high) px, both included, of distances to the border; 0 is the outermost row.

    Single pixels up to 3, then two bins per octave: 4-5, 6-7, 8-11, 12-15, ...
    """
    farthest = (min(window) - 1) // 2
    starts = [0, 1, 2, 3]
    step = 4
    while starts[-1] <= farthest:
        starts += [step, step + step // 2]
        step *= 2
    starts = [start for start in starts if start <= farthest]
    ends = [*(start - 1 for start in starts[1:]), farthest]
    return tuple(zip(starts, ends, strict=True))


@dataclass(frozen=True)
class Moved:
    """One shift, seen from the unshifted window."""

    kind: Kind
    offset: Offset
    rows: slice
    columns: slice
    """Of the unshifted window, the pixels that are compared."""
    bins: Tensor
    """(h, w) bin of each compared pixel: its distance to the border in the window where it is
    nearer to one."""
    cells: Tensor
    """(h, w) heat map cell of each compared pixel."""

    def clean(self, unshifted: Tensor) -> Tensor:
        """The compared part (..., h, w) of a map (..., H, W) of the unshifted window."""
        return unshifted[..., self.rows, self.columns]

    def back(self, shifted: Tensor) -> Tensor:
        """The same part of a map (..., H, W) of the shifted window, moved back."""
        return self._back(shifted, around(self.offset)[0])

    def _back(self, shifted: Tensor, offset: Whole) -> Tensor:
        return self.kind.back(shifted, offset, (self.rows, self.columns))

    def settled(self, shifted: Tensor, wanted: Tensor) -> Tensor:
        """Labels (H, W) moved back, and (h, w) labels that are looked for in their place.

        Those wanted where one of the pixels around has them, else those of the nearest pixel.
        """
        nearest, *others = (self._back(shifted, offset) for offset in around(self.offset))
        for other in others:
            nearest = torch.where(other == wanted, wanted, nearest)
        return nearest

    def expected(self, unshifted: Tensor) -> Tensor:
        """(..., h, w) an image (..., H, W) of the unshifted window, as `back` ought to be."""
        if not (isinstance(self.kind, Resampled) and is_between(self.offset)):
            return self.clean(unshifted)
        return self.back(self.kind.carry(unshifted, self.offset))


class Frames:
    """Makes `Moved` for one window."""

    def __init__(
        self, window: tuple[int, int], device: torch.device, *, carried: bool = False
    ) -> None:
        """`carried`: what pixels beyond the window have a part in is not compared."""
        self.window, self._device, self._carried = window, device, carried
        self.edges = border_bins(window)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of heat map cells: at most 32 along the longer side."""
        scale = min(1.0, _MOST_CELLS / max(self.window))
        height, width = (max(1, round(side * scale)) for side in self.window)
        return height, width

    def moved(self, kind: Kind, offset: Offset) -> Moved:
        """The shift of `kind` by `offset`, which leaves some overlap."""
        rows, columns = common = self._common(kind, offset)
        there = kind.back(self._bins, around(offset)[0], common)
        nearer = torch.minimum(self._bins[rows, columns], there)
        return Moved(kind, offset, rows, columns, nearer, self._cells[rows, columns])

    def _common(self, kind: Kind, offset: Offset) -> Slices:
        rows, columns = kind.common(self.window, offset)
        rim = kind.rim if isinstance(kind, Resampled) and is_between(offset) else 0
        if not (self._carried and rim):
            return rows, columns
        height, width = self.window
        return _within(rows, rim, height - rim), _within(columns, rim, width - rim)

    @cached_property
    def _bins(self) -> Tensor:
        """(H, W) bin of each pixel."""
        height, width = self.window
        rows, columns = torch.arange(height), torch.arange(width)
        near_row = torch.minimum(rows, height - 1 - rows)[:, None]
        near_column = torch.minimum(columns, width - 1 - columns)[None]
        ends = torch.tensor([high for _, high in self.edges])
        found = torch.searchsorted(ends, torch.minimum(near_row, near_column))
        return found.to(torch.int32).to(self._device)

    @cached_property
    def _cells(self) -> Tensor:
        """(H, W) cell of each pixel, row by row."""
        (height, width), (rows, columns) = self.window, self.grid
        row = torch.arange(height) * rows // height
        column = torch.arange(width) * columns // width
        return (row[:, None] * columns + column[None]).to(torch.int32).to(self._device)


def _within(part: slice, low: int, high: int) -> slice:
    return slice(max(part.start, low), min(part.stop, high))
