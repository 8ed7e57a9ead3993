"""The frame of the unshifted window: where a shifted output belongs in it.

A shift by (dy, dx) puts the content of pixel p at p + (dy, dx). Moved back, a shifted map is
compared with the unshifted one wherever both windows hold the content: everywhere for
circular shifts, on the overlap of the two windows for crop and zero-pad shifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from equiaudit.kinds import Kind

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
    offset: tuple[int, int]
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
        return self.kind.back(shifted, self.offset, (self.rows, self.columns))


class Frames:
    """Makes `Moved` for one window."""

    def __init__(self, window: tuple[int, int], device: torch.device) -> None:
        self.window, self._device = window, device
        self.edges = border_bins(window)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of heat map cells: at most 32 along the longer side."""
        scale = min(1.0, _MOST_CELLS / max(self.window))
        height, width = (max(1, round(side * scale)) for side in self.window)
        return height, width

    def moved(self, kind: Kind, offset: tuple[int, int]) -> Moved:
        """The shift of `kind` by `offset`, which leaves some overlap."""
        rows, columns = common = kind.common(self.window, offset)
        there = kind.back(self._bins, offset, common)
        nearer = torch.minimum(self._bins[rows, columns], there)
        return Moved(kind, offset, rows, columns, nearer, self._cells[rows, columns])

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
