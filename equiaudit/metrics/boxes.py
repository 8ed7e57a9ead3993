"""Boxes of a shifted image against those of the unshifted one.

A frame holds boxes in the coordinates of the unshifted window: those of a shifted window less
its offset. What two frames have in common is the torus, for kinds that keep the whole image, or
else the part that both windows show, to which boxes are cut. A box is *whole* where no border of
the windows compared cuts it; only whole boxes are counted, the others apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Offset = tuple[float, float]

_OVERLAP = 0.5
"""Share of a box beyond which it is a part of a box that a border cuts."""


@dataclass(frozen=True, eq=False)
class Detections:
    """n boxes of one window, in that window's own px."""

    boxes: Floats
    """(n, 4) x1, y1, x2, y2."""
    scores: Floats
    """(n,)"""
    labels: Ints
    """(n,)"""
    points: Floats | None = None
    """(n, P, 2) x, y of key points, where there are any."""
    masks: NDArray[np.uint8] | None = None
    """(n, ceil(H W / 8)) masks of the window, as `numpy.packbits` has them."""

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Field:
    """What is compared: the windows at `offsets`, in the frame of the unshifted one.

    `region` is (x1, y1, x2, y2) of what all of them show; None on a torus of `window` (H, W).
    """

    window: tuple[int, int]
    offsets: tuple[Offset, ...]
    region: tuple[float, float, float, float] | None

    def cut(self, boxes: Floats) -> Floats:
        """Boxes (n, 4) of the common frame, cut to the region; as they are on a torus."""
        if self.region is None:
            return boxes
        return np.minimum(np.maximum(boxes, self.region[:2] * 2), self.region[2:] * 2)

    def whole(self, boxes: Floats, offset: Offset) -> Bools:
        """(n,) whether no border cuts boxes of the common frame, found in the window at `offset`.

        What sticks out of that window is beside the matter.
        """
        shown = self._within(boxes, offset)
        if self.region is not None:
            return np.asarray((self.cut(shown) == shown).all(axis=1))
        sides = np.array(self.window[::-1], np.float64)
        moves = np.array(self.offsets, np.float64)[:, None, ::-1]
        low, high = (shown[:, :2] + moves) / sides, (shown[:, 2:] + moves) / sides
        return np.asarray((np.floor(low) >= np.ceil(high) - 1).all(axis=(0, 2)))

    def _within(self, boxes: Floats, offset: Offset) -> Floats:
        """Cut to the window at `offset`."""
        dy, dx = offset
        height, width = self.window
        move = np.array([dx, dy, dx, dy], np.float64)
        return np.minimum(np.maximum(boxes + move, 0), (width, height) * 2) - move

    def overlaps(self, a: Floats, b: Floats) -> Floats:
        """(n, 4) and (m, 4) -> (n, m) areas that they share."""
        return self._shared(a, b, 0) * self._shared(a, b, 1)

    def _shared(self, a: Floats, b: Floats, axis: int) -> Floats:
        """Lengths shared along x (0) or y (1), over all turns of a torus."""
        side = 0 if self.region is not None else self.window[1 - axis]
        total = np.zeros((len(a), len(b)))
        for turn in (0,) if self.region is not None else (-1, 0, 1):
            high = np.minimum(a[:, None, axis + 2], b[None, :, axis + 2] + turn * side)
            low = np.maximum(a[:, None, axis], b[None, :, axis] + turn * side)
            total += np.maximum(high - low, 0.0)
        return total

    def iou(self, a: Floats, b: Floats) -> Floats:
        """(n, m) intersection over union; 0 with a box that has no area."""
        shared = self.overlaps(a, b)
        union = area(a)[:, None] + area(b)[None] - shared
        return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

    def moves(self, a: Floats, b: Floats) -> Floats:
        """(n, 4) by which corners of `b` lie beside those of `a`, the short way round a torus."""
        found = b - a
        if self.region is None:
            sides = np.array([self.window[1], self.window[0]], np.float64)
            centre = (found[:, :2] + found[:, 2:]) / 2
            found = found - np.tile(np.rint(centre / sides) * sides, 2)
        return np.asarray(found)


def field_of(
    window: tuple[int, int],
    offsets: Iterable[Offset],
    regions: Iterable[tuple[float, float, float, float]] | None,
) -> Field:
    """What windows at `offsets` have in common; `regions` of each, None on a torus."""
    if regions is None:
        return Field(window, tuple(offsets), None)
    each = np.array(list(regions), np.float64)
    low, high = each[:, :2].max(axis=0), each[:, 2:].min(axis=0)
    region = (*low.tolist(), *np.maximum(low, high).tolist())
    return Field(window, tuple(offsets), region)


def area(boxes: Floats) -> Floats:
    """(n,) of boxes (n, 4); 0 where x2 < x1 or y2 < y1."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


@dataclass(frozen=True, eq=False)
class Compared:
    """The n boxes of one frame and what became of each in another.

    Of whole boxes, one and only one of kept, relabelled, lost or `apart` holds.
    """

    kept: Ints
    """(n,) the partner's place among the other's boxes; -1 where there is none."""
    relabelled: Bools
    """(n,) it has a partner of another class."""
    lost: Bools
    """(n,) it has none."""
    apart: Bools
    """(n,) a border cuts it, or it is a part of what a border cuts."""
    appeared: Bools
    """(m,) of the other's boxes, those without a partner."""
    moved: Floats
    """(n, 4) by which the corners of the partner lie elsewhere; NaN where none is kept."""

    @property
    def counted(self) -> Bools:
        """(n,) not apart."""
        return ~self.apart


def compare(
    a: Detections,
    b: Detections,
    field: Field,
    places: tuple[Offset, Offset],
    iou: float = 0.5,
    overlap: Floats | None = None,
) -> Compared:
    """What became of the boxes of `a` in `b`, both in the common frame.

    Partners are of one class and overlap by `iou` at least; among all ways to pair them, as many
    as can be, and then with the largest sum of overlaps. Of boxes left over, those that overlap
    so with one of another class are relabelled. `places` are the offsets of the two windows.
    `overlap` (n, m) takes the place of the boxes' own.
    """
    return _Frames.of(a, b, field, places, overlap).outcome(iou)


@dataclass(frozen=True, eq=False)
class _Frames:
    """The boxes of two frames, by all that does not depend on how much they have to overlap."""

    field: Field
    one: Floats
    """(n, 4) cut to what is compared."""
    other: Floats
    """(m, 4)"""
    overlap: Floats
    """(n, m)"""
    alike: Bools
    """(n, m) of one class."""
    whole: Bools
    whole_other: Bools
    part: Bools
    """(n,) lies by half or more in one of the other that a border cuts."""
    part_other: Bools

    @classmethod
    def of(
        cls,
        a: Detections,
        b: Detections,
        field: Field,
        places: tuple[Offset, Offset],
        overlap: Floats | None,
    ) -> _Frames:
        one, other = field.cut(a.boxes), field.cut(b.boxes)
        overlap = field.iou(one, other) if overlap is None else overlap
        whole, whole_other = field.whole(a.boxes, places[0]), field.whole(b.boxes, places[1])
        parts = _parts(field, one, other, ~whole, ~whole_other)
        alike = a.labels[:, None] == b.labels[None]
        return cls(field, one, other, overlap, alike, whole, whole_other, *parts)

    def outcome(self, iou: float) -> Compared:
        count, overlap = len(self.one), self.overlap
        kept = _paired(np.where(self.alike, overlap, 0.0), iou)
        free, free_other = kept < 0, np.ones(len(self.other), np.bool_)
        free_other[kept[kept >= 0]] = False
        apart = ~self.whole | (free & self.part)
        open_, open_other = free & ~apart, free_other & self.whole_other & ~self.part_other
        again = np.full(count, -1, np.int64)
        if open_.any() and open_other.any():
            again = _paired(np.where(open_[:, None] & open_other[None], overlap, 0.0), iou)
        open_other[again[again >= 0]] = False
        kept = np.where(apart, -1, kept)
        moved = np.full((count, 4), np.nan)
        has = kept >= 0
        moved[has] = self.field.moves(self.one[has], self.other[kept[has]])
        return Compared(kept, again >= 0, open_ & (again < 0), apart, open_other, moved)


def agreement(
    a: Detections,
    b: Detections,
    field: Field,
    places: tuple[Offset, Offset],
    ious: tuple[float, ...],
    overlap: Floats | None = None,
) -> list[tuple[int, int]]:
    """For each of `ious`: the boxes of two shifted frames that have partners, and all of them.

    Over the boxes of both that no border cuts; those left over once apart from parts of such.
    """
    frames = _Frames.of(a, b, field, places, overlap)
    found = []
    for iou in ious:
        seen = frames.outcome(iou)
        kept = int(frames.whole_other[seen.kept[seen.kept >= 0]].sum())
        left = int(seen.lost.sum()) + int(seen.appeared.sum()) + 2 * int(seen.relabelled.sum())
        found.append((2 * kept, 2 * kept + left))
    return found


def _parts(field: Field, a: Floats, b: Floats, cut: Bools, cut_other: Bools) -> tuple[Bools, Bools]:
    """Which boxes of either lie by half or more in one of the other that a border cuts."""
    if not (cut.any() or cut_other.any()):
        return np.zeros(len(a), np.bool_), np.zeros(len(b), np.bool_)
    shared = field.overlaps(a, b)
    part = (shared[:, cut_other] >= _OVERLAP * area(a)[:, None]).any(axis=1)
    part_other = (shared[cut] >= _OVERLAP * area(b)[None]).any(axis=0)
    return np.asarray(part), np.asarray(part_other)


def _paired(overlap: Floats, least: float) -> Ints:
    """(n, m) -> (n,) the column that each row is paired with, -1 for none."""
    found = np.full(len(overlap), -1, np.int64)
    fits = overlap >= least
    if not fits.any():
        return found
    value = np.where(fits, 1.0 + min(overlap.shape) + overlap, 0.0)
    from scipy.optimize import linear_sum_assignment  # slow to import, and for boxes alone

    rows, columns = linear_sum_assignment(value, maximize=True)
    taken = fits[rows, columns]
    found[rows[taken]] = columns[taken]
    return found
