"""Masks and key points of the boxes of one image, under one series of shifts.

Masks are those of whole shifts: between pixels they have no places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equiaudit.kinds import Kind, Offset, around
from equiaudit.metrics.boxes import Compared, Detections, Field, agreement, area
from equiaudit.metrics.instances import mask_overlaps, similarity
from equiaudit.metrics.precision import IOUS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Inside:
    """What has become of masks and key points so far; frames are those of `metrics.boxes`."""

    def __init__(self, clean: Detections, kind: Kind, window: tuple[int, int]) -> None:
        self._clean, self._kind, self._window = clean, kind, window
        self._overlaps: list[Floats] = []
        self._alike: list[Floats] = []
        self._pairs = np.zeros((len(IOUS), 2), np.int64)

    def take(self, found: Detections, field: Field, offset: Offset, seen: Compared) -> None:
        """The objects at one shift, moved back, and the partners of the unshifted ones."""
        kept, clean = seen.kept >= 0, self._clean
        partners = seen.kept[kept]
        if clean.masks is not None and found.masks is not None:
            a = self._frame(clean.masks[kept], (0, 0), field)
            b = self._frame(found.masks[partners], offset, field)
            shared, either = (a & b).sum((1, 2)), (a | b).sum((1, 2))
            self._overlaps.append(shared[either > 0] / either[either > 0])
        if clean.points is not None and found.points is not None:
            # A partner that reaches beyond what both windows show is seen otherwise in each.
            whole = field.whole(found.boxes[partners], offset)
            moves = (found.points[partners] - clean.points[kept])[whole]
            if field.region is None:
                sides = np.array(self._window[::-1], np.float64)
                moves = moves - np.rint(moves / sides) * sides
            self._alike.append(similarity(moves, area(clean.boxes[kept])[whole]))

    def pair(
        self, one: Detections, other: Detections, field: Field, places: tuple[Offset, Offset]
    ) -> None:
        """The objects at two shifts, both moved back."""
        if one.masks is None or other.masks is None:
            return
        a, b = (
            self._frame(each.masks, at, field)
            for each, at in zip((one, other), places, strict=True)
            if each.masks is not None
        )
        found = agreement(one, other, field, places, tuple(IOUS), mask_overlaps(a, b))
        self._pairs += np.array(found, np.int64)

    def _frame(self, masks: NDArray[np.uint8], offset: Offset, field: Field) -> Bools:
        """(n, h, w) of what all windows of `field` show."""
        (height, width), (dy, dx) = self._window, around(offset)[0]
        flat = np.unpackbits(masks, axis=1, count=height * width)
        found = flat.reshape(len(masks), height, width).astype(np.bool_)
        if field.region is None:
            return np.roll(found, (-dy, -dx), (1, 2))
        left, top, right, bottom = (int(side) for side in field.region)
        return found[:, top + dy : bottom + dy, left + dx : right + dx]

    @property
    def mask_iou(self) -> float | None:
        """Mean over the kept boxes of all shifts; None where there are none."""
        return _mean(self._overlaps)

    @property
    def alike(self) -> float | None:
        """Mean similarity of key points of those that no border cuts in either window."""
        return _mean(self._alike)

    @property
    def mask_consistency(self) -> float | None:
        """Mean over the IoUs 0.5, 0.55, ..., 0.95 of the share of objects with a partner."""
        kept, every = self._pairs.T
        return float((kept / every).mean()) if every.all() else None


def _mean(each: list[Floats]) -> float | None:
    values = np.concatenate([*each, np.zeros(0)])
    return float(values.mean()) if len(values) else None
