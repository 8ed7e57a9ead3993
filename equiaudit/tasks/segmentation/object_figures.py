"""Figures of objects: how many a shift loses or makes, and from which size on none is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics.intervals import bca_interval, ratio_interval
from equiaudit.results import Estimate, LostObject, ObjectSize, ObjectTable
from equiaudit.tasks.segmentation.block import SegmentationRecord, SegmentationSeries

_NAMES = {
    True: ("lost_object", "lost_object_ever", "false_object"),
    False: ("lost_region", "lost_region_ever", "new_region"),
}
_SMALLEST, _STEP = 16, 4
"""px: the first size ends below, and each further one is so many times as large."""
_LISTED = 20

Own = Sequence[SegmentationSeries]


def object_metrics(own: Own, *, masks: bool, seed: int) -> dict[str, Estimate]:
    """Lost per shift, lost at some shift, and made per shift; of masks, or of predictions."""
    lost, ever, new = _NAMES[masks]
    sums = np.array([_ever(series) for series in own], np.float64).reshape(-1, 2)
    made = [series.new / len(series.change) for series in own]
    return {
        lost: lost_share(own),
        ever: ratio_interval(sums[:, 0], sums[:, 1]),
        new: bca_interval(made, seed=seed),
    }


def lost_share(own: Own, label: int | None = None) -> Estimate:
    """Lost over found unshifted, each object once per shift; of one class, or of all."""
    sums = np.zeros((len(own), 2))
    for i, series in enumerate(own):
        for each in series.objects:
            if each.found and label in (None, each.label):
                sums[i] += each.count * np.array([each.tried - each.hit, each.tried])
    return ratio_interval(sums[:, 0], sums[:, 1])


def found_and_lost(series: SegmentationSeries) -> tuple[int, int]:
    """Of one image: objects that are found unshifted, and those that some shift loses."""
    lost, found = _ever(series)
    return found, lost


def _ever(series: SegmentationSeries) -> tuple[int, int]:
    lost = sum(each.count for each in series.objects if each.lost)
    return lost, sum(each.count for each in series.objects if each.found)


def object_table(
    name: str, records: Sequence[SegmentationRecord], *, masks: bool
) -> ObjectTable | None:
    """By size, and the objects that are lost most often; None where there are none."""
    objects = [each for r in records for each in r.of(name).objects]
    if not objects:
        return None
    areas = np.array([each.area for each in objects])
    counts = np.array([each.count for each in objects])
    always = np.array([each.always for each in objects])
    lost = np.array([each.lost for each in objects])
    safe = _safe_area(areas, always)
    return ObjectTable(
        of="masks" if masks else "predictions",
        sizes=tuple(_sizes(areas, counts, always, lost)),
        safe_area=safe,
        safe_objects=0 if safe is None else int(counts[areas >= safe].sum()),
        lost=_most_lost(name, records),
    )


def _safe_area(areas: NDArray[np.int64], always: NDArray[np.bool_]) -> int | None:
    """The smallest area seen from which on every object is found unshifted and by all shifts."""
    missed = areas[~always]
    safe = areas[areas > missed.max()] if missed.size else areas
    return int(safe.min()) if safe.size else None


def _sizes(
    areas: NDArray[np.int64],
    counts: NDArray[np.int64],
    always: NDArray[np.bool_],
    lost: NDArray[np.bool_],
) -> list[ObjectSize]:
    found, low, high = [], 1, _SMALLEST
    while low <= areas.max():
        own = (areas >= low) & (areas < high)
        if own.any():
            n, kept, gone = (int(counts[own & each].sum()) for each in (own, always, lost))
            size = ObjectSize(
                low=low, high=high - 1, objects=n, always=kept, lost=gone, missed=n - kept - gone
            )
            found.append(size)
        low, high = high, _STEP * high
    return found


def _most_lost(name: str, records: Sequence[SegmentationRecord]) -> tuple[LostObject, ...]:
    found = [(record.file, each) for record in records for each in record.of(name).lost]
    found.sort(key=lambda pair: (pair[1].hit / pair[1].tried, -pair[1].area, pair[0]))
    return tuple(
        LostObject(
            file=file,
            label=each.label,
            area=each.area,
            at=(each.y, each.x),
            tried=each.tried,
            found=each.hit,
        )
        for file, each in found[:_LISTED]
    )
