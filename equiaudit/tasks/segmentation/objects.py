"""Objects of a label map: were they found, does a shift lose them, does it make new ones?

An object is an 8-connected part of one class; class 0 is background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from equiaudit.data import IGNORED
from equiaudit.tasks.maps.frames import Moved

_EIGHT_NEIGHBOURS = np.ones((3, 3))
_MOST_NAMED = 20
"""Lost objects of an image and series that are kept with their place."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Alike:
    """Objects of one image that fared alike under one series."""

    label: int
    area: int
    """px."""
    found: int
    """1 when found unshifted."""
    tried: int
    """Shifts that leave the object whole in both windows."""
    hit: int
    """Shifts, of these, that find it."""
    count: int

    @property
    def always(self) -> bool:
        """Found unshifted and by every shift."""
        return bool(self.found) and self.hit == self.tried

    @property
    def lost(self) -> bool:
        """Found unshifted, and by some shift no more."""
        return bool(self.found) and self.hit < self.tried


@dataclass(frozen=True)
class Lost:
    """One object that was found unshifted, and that some shift loses."""

    label: int
    area: int
    y: int
    x: int
    """Its middle, px of the unshifted window."""
    tried: int
    hit: int


class Objects:
    """The objects of a map of the unshifted window: of its mask, or of what is predicted there.

    An object is *found* when at least one of its pixels is predicted as its class. A shift *loses*
    it when it was found unshifted and is no more. Objects that a crop or zero-pad shift cuts do
    not count for that shift.
    """

    def __init__(self, true: Tensor, clean: Tensor) -> None:
        """`true` and the unshifted prediction `clean`: (H, W) labels."""
        ids, self._classes, self._boxes = components(true.cpu().numpy())
        self._areas = np.bincount(ids.ravel(), minlength=len(self._classes) + 1)[1:]
        self._ids = torch.from_numpy(ids).to(true.device)
        self._true = true
        self._found = self._hit(clean, true, self._ids)

    def begin(self) -> Fates:
        """Nothing tried yet."""
        return Fates(len(self._classes))

    def add(self, fates: Fates, moved: Moved, back: Tensor) -> None:
        """One shift more, its prediction moved `back` to the part that is compared."""
        if not len(self._classes):
            return
        tried = np.ones_like(self._found) if moved.kind.whole else self._inside(moved)
        fates.tried += tried
        fates.hit += tried & self._hit(back, moved.clean(self._true), moved.clean(self._ids))

    def alike(self, fates: Fates) -> tuple[Alike, ...]:
        """Every object that some shift left whole, those with one fate together."""
        own = np.stack([self._classes, self._areas, self._found, fates.tried, fates.hit], axis=1)
        whole = own[fates.tried > 0].reshape(-1, 5)
        each, counts = np.unique(whole, axis=0, return_counts=True)
        return tuple(Alike(*row) for row in np.column_stack([each, counts]).tolist())

    def lost(self, fates: Fates) -> tuple[Lost, ...]:
        """Those that shifts lose most often, the largest first among equals."""
        which = np.flatnonzero(self._found & (fates.hit < fates.tried))
        shares = fates.hit[which] / fates.tried[which]
        order = which[np.lexsort((-self._areas[which], shares))][:_MOST_NAMED]
        return tuple(self._named(i, fates) for i in order)

    def _named(self, i: int, fates: Fates) -> Lost:
        top, bottom, left, right = map(int, self._boxes[i])
        area, label = int(self._areas[i]), int(self._classes[i])
        y, x = (top + bottom - 1) // 2, (left + right - 1) // 2
        return Lost(label, area, y, x, int(fates.tried[i]), int(fates.hit[i]))

    def _hit(self, labels: Tensor, true: Tensor, ids: Tensor) -> NDArray[np.bool_]:
        """Which objects hold a pixel of their class."""
        right = ids[(labels == true) & (ids > 0)]
        counts = torch.bincount(right, minlength=len(self._classes) + 1)
        return np.asarray(counts[1:].cpu().numpy() > 0)

    def _inside(self, moved: Moved) -> NDArray[np.bool_]:
        top, bottom, left, right = self._boxes.T
        rows = (top >= moved.rows.start) & (bottom <= moved.rows.stop)
        return np.asarray(rows & (left >= moved.columns.start) & (right <= moved.columns.stop))


class Fates:
    """How often each of `count` objects was tried, and hit."""

    def __init__(self, count: int) -> None:
        self.tried = np.zeros(count, np.int64)
        self.hit = np.zeros(count, np.int64)


def new_objects(moved: Moved, back: Tensor, clean: Tensor, true: Tensor | None) -> int:
    """How many objects of `back` are neither in `clean` nor in `true`, all (h, w) labels.

    Those are 8-connected parts of a class but 0 of which no pixel has that class unshifted or in
    the mask. One that reaches into the border of what is compared, under crop and zero-pad shifts,
    is not counted, nor one that lies in what the mask leaves out.
    """
    fresh = (back != clean) & (back > 0)
    if true is not None:
        fresh &= (back != true) & (true != IGNORED)
    if not bool(fresh.any()):
        return 0
    predicted, candidates = back.cpu().numpy(), fresh.cpu().numpy()
    known = (back == clean) if true is None else (back == clean) | (back == true)
    ids, classes, boxes = components(
        np.where(np.isin(predicted, np.unique(predicted[candidates])), predicted, 0)
    )
    new = np.zeros(len(classes) + 1, np.bool_)
    new[np.unique(ids[candidates])] = True
    new[np.unique(ids[known.cpu().numpy()])] = False
    new[0] = False
    if not moved.kind.whole:
        (height, width), (top, bottom, left, right) = predicted.shape, boxes.T
        new[1:] &= (top > 0) & (left > 0) & (bottom < height) & (right < width)
    return int(new.sum())


def components(labels: Labels) -> tuple[NDArray[np.int32], Labels, Labels]:
    """(H, W) ids from 1 up, the class of each, and its (top, bottom, left, right), ends open."""
    ids = np.zeros(labels.shape, np.int32)
    classes: list[int] = []
    for label, part in _foreground(labels):
        own, count = ndimage.label(labels[part] == label, structure=_EIGHT_NEIGHBOURS)
        ids[part][own > 0] = own[own > 0] + len(classes)
        classes += [label] * count
    boxes = [
        (rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in ndimage.find_objects(ids)
    ]
    return ids, np.array(classes, np.int64), np.array(boxes, np.int64).reshape(-1, 4)


def _foreground(labels: Labels) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Each class but 0, and the rectangle that holds all of it."""
    parts = ndimage.find_objects(np.maximum(labels, 0))
    yield from ((label, part) for label, part in enumerate(parts, 1) if part is not None)
