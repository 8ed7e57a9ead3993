"""The passes of a block of images, as arrays: an object per pass would cost too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiaudit.kinds import Offset
from equiaudit.metrics.lattice import px
from equiaudit.shifts import ShiftPlan
from equiaudit.shifts.plan import Offsets

Columns = Mapping[str, slice]
"""Series name -> its passes among those of one image."""


@dataclass(frozen=True)
class Job:
    """The model is to see image `image` of the block, moved by `offset` under series `name`.

    `slot` counts the offsets of that image and series in plan order.
    """

    image: int
    name: str
    slot: int
    offset: Offset


@dataclass(frozen=True)
class Jobs:
    """n passes, image by image and in plan order; iterating makes a `Job` of each."""

    columns: Columns
    """The same for all images."""
    image: NDArray[np.int64]
    """(n,) place of the image in the block."""
    column: NDArray[np.int64]
    """(n,) place of the pass among those of its image."""
    offset: Offsets
    """(n, 2)"""

    def __len__(self) -> int:
        return len(self.image)

    def __iter__(self) -> Iterator[Job]:
        places = [(name, slot) for name, part in self.columns.items() for slot in _slots(part)]
        rows = zip(self.image.tolist(), self.column.tolist(), self.offset.tolist(), strict=True)
        for image, column, (dy, dx) in rows:
            name, slot = places[column]
            yield Job(image, name, slot, (px(dy), px(dx)))

    def part(self, start: int, stop: int) -> Jobs:
        """Those from `start` up to `stop`, as views."""
        chosen = slice(start, stop)
        return Jobs(self.columns, self.image[chosen], self.column[chosen], self.offset[chosen])


def _slots(part: slice) -> range:
    return range(part.stop - part.start)


def columns_of(plan: ShiftPlan) -> Columns:
    """The passes of every series, and behind them those of the contrasts."""
    counts = {series.name: len(plan.offsets(series, 0)) for series in plan.series}
    counts |= {name: len(offsets) for name, offsets in plan.contrast_offsets(0).items()}
    ends = np.cumsum(list(counts.values())).tolist()
    parts = zip(counts.items(), ends, strict=True)
    return {name: slice(end - count, end) for (name, count), end in parts}


def jobs_of(plan: ShiftPlan, indices: Sequence[int]) -> Jobs:
    """All passes of the images of those indices, the unshifted ones aside."""
    columns = columns_of(plan)
    width = max(part.stop for part in columns.values())
    number = np.float64 if plan.fractional else np.int64
    offset: Offsets = np.empty((len(indices), width, 2), number)
    for row, index in zip(offset, indices, strict=True):
        for series in plan.series:
            row[columns[series.name]] = plan.offsets(series, index)
        for name, offsets in plan.contrast_offsets(index).items():
            row[columns[name]] = offsets
    image, column = np.indices((len(indices), width))
    return Jobs(columns, image.ravel(), column.ravel(), offset.reshape(-1, 2))
