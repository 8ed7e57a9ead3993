"""Sums over the shifts of one image and series."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.tasks.maps.frames import Frames, Moved
from equiaudit.tasks.maps.records import packed

Floats = NDArray[np.float64]


class Tally:
    """Change per shift, by distance to the border, and by heat map cell."""

    def __init__(self, frames: Frames, count: int) -> None:
        self.change: list[float | None] = [None] * count
        self._bins = np.zeros((2, len(frames.edges)))
        self._cells = np.zeros((2, frames.grid[0] * frames.grid[1]))

    def add(self, slot: int, change: float, values: Tensor, moved: Moved) -> None:
        """One shift: its `change`, and that of each compared pixel, (h, w)."""
        self.change[slot] = change
        weights = values.reshape(-1).double()
        for sums, places in ((self._bins, moved.bins), (self._cells, moved.cells)):
            sums += _sums(places.reshape(-1), weights, sums.shape[1])

    @property
    def fields(self) -> dict[str, object]:
        """The fields of a `MapSeries`."""
        total, count = self._cells
        heat = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return {
            "change": tuple(self.change),
            "border_sum": tuple(self._bins[0].tolist()),
            "border_count": tuple(self._bins[1].astype(np.int64).tolist()),
            "heat": packed(heat),
        }


def _sums(places: Tensor, weights: Tensor, size: int) -> Floats:
    """(2, size): the sum of `weights` per place, and how many there are."""
    total = torch.bincount(places, weights=weights, minlength=size)
    count = torch.bincount(places, minlength=size)
    return torch.stack([total, count.double()]).cpu().numpy()
