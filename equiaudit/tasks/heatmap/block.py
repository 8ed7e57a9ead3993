"""Heat maps of a block: where their peaks are, and how far from where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.jobs import Jobs
from equiaudit.audit.task import Source
from equiaudit.kinds import Kind, Offset, around
from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.arrays.block import ArrayBlock

DISPLACEMENT, PEAK = "displacement", "peak"
Step = tuple[int, int]
"""px of the input per pixel of the map, along rows and columns."""


def peaks(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (n, K, h, w) -> (n, K, 2) row and column of the first highest place, (n, K) its value,
    and (n, K) whether there is one: a flat map has no peak."""
    flat = maps.flatten(2)
    value, place = flat.max(2)
    first = torch.stack([place // maps.shape[3], place % maps.shape[3]], -1)
    return first, value, flat.amin(2) < value


def displacements(maps: Tensor, wanted: Tensor, step: Step, *, torus: bool) -> Tensor:
    """(K,) px from `wanted` (K, 2), px, to the nearest of the highest places of maps (K, h, w).

    A place is that of the first of the input's pixels that the map's pixel stands for. On a
    `torus` the shorter way round counts.
    """
    highest = maps == maps.flatten(1).amax(1)[:, None, None]
    ways = []
    for axis, (size, times) in enumerate(zip(maps.shape[1:], step, strict=True)):
        places = torch.arange(size, device=maps.device) * times
        way = (places[None] - wanted[:, axis, None]).abs()
        if torus:
            way = way % (size * times)
            way = torch.minimum(way, size * times - way)
        ways.append(way.double().square())
    square = ways[0][:, :, None] + ways[1][:, None, :]
    return square.masked_fill(~highest, torch.inf).flatten(1).amin(1).sqrt()


class HeatmapBlock(ArrayBlock):
    """Reduces maps (n, K, h, w) to K displacements and values of peaks.

    NaN where nothing can be said: the unshifted map is flat, or its peak has left the window.
    """

    def __init__(self, plan: ShiftPlan, sources: Sequence[Source], step: Step) -> None:
        super().__init__(plan, sources, [""] * len(sources))
        self._step = step
        self._kind = plan.moves
        self._clean: dict[int, tuple[Tensor, Tensor]] = {}
        pixels = torch.arange(plan.window[0] * plan.window[1])
        self._pixels = pixels.reshape(plan.window)

    def unshifted(self, images: NDArray[Any], outputs: Tensor) -> None:
        """Keep where the peaks are, px of the input."""
        places, values, there = peaks(outputs)
        scaled = places.cpu() * torch.tensor(self._step)
        self._clean |= dict(
            zip(images.tolist(), zip(scaled, there.cpu(), strict=True), strict=True)
        )
        none = torch.where(there, 0.0, torch.nan).cpu().double().numpy()
        self.put(DISPLACEMENT, images, np.zeros_like(images), none)
        self.put(PEAK, images, np.zeros_like(images), values.cpu().numpy())

    def compare(self, jobs: Jobs, outputs: Tensor) -> None:
        """Look how far each peak is from where it belongs."""
        found = [
            self._displaced(self._kind[job.name], job.image, job.offset, maps)
            for job, maps in zip(jobs, outputs, strict=True)
        ]
        self.put(DISPLACEMENT, jobs.image, 1 + jobs.column, np.stack(found))
        values = outputs.flatten(2).amax(2)
        self.put(PEAK, jobs.image, 1 + jobs.column, values.cpu().numpy())

    def _displaced(
        self, kind: Kind, image: int, offset: Offset, maps: Tensor
    ) -> NDArray[np.float64]:
        places, there = self._clean[image]
        wanted, inside = self._moved(kind, offset, places)
        way = displacements(maps, wanted.to(maps.device), self._step, torus=kind.whole).cpu()
        return np.asarray(way.masked_fill(~(there & inside), torch.nan).numpy())

    def _moved(self, kind: Kind, offset: Offset, places: Tensor) -> tuple[Tensor, Tensor]:
        """Where in the shifted window pixels (K, 2) of the unshifted one are, and which are there.

        By moving the numbers of all pixels back as a map is, and what is left of a fraction.
        """
        whole = around(offset)[0]
        rest = torch.tensor([moved - near for moved, near in zip(offset, whole, strict=True)])
        height, width = self.plan.window
        rows, columns = common = kind.common((height, width), offset)
        back = self._pixels.new_full((height, width), -1)
        back[rows, columns] = kind.back(self._pixels, whole, common)
        found = back[places[:, 0], places[:, 1]]
        return torch.stack([found // width, found % width], -1) + rest, found >= 0
