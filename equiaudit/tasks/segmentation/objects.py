"""Objects of a mask: were they found, and does a shift lose them?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from equiaudit.tasks.maps.frames import Moved

_EIGHT_NEIGHBOURS = np.ones((3, 3))


class Objects:
    """The 8-connected components of each class but 0 in the mask of the unshifted window.

    An object is *found* unshifted when at least one of its pixels is predicted as its class.
    A shift *loses* it when it was found and none is any more. Objects that a crop or zero-pad
    shift cuts do not count for that shift.
    """

    def __init__(self, mask: Tensor, clean: Tensor) -> None:
        ids, classes, boxes = _components(mask.cpu().numpy())
        self._ids = torch.from_numpy(ids).to(mask.device)
        self._mask = mask
        self._classes, self._boxes = classes, boxes
        self._found = self._hit(clean, mask, self._ids)

    def count(self, moved: Moved, back: Tensor) -> dict[int, tuple[int, int]]:
        """Class -> (lost, found unshifted and whole in both windows), for one shift."""
        if not len(self._classes):
            return {}
        whole = self._found if moved.kind.whole else self._found & self._inside(moved)
        lost = whole & ~self._hit(back, moved.clean(self._mask), moved.clean(self._ids))
        return {
            int(c): (int((lost & (self._classes == c)).sum()), int(n))
            for c, n in zip(*np.unique(self._classes[whole], return_counts=True), strict=True)
        }

    def _hit(self, labels: Tensor, mask: Tensor, ids: Tensor) -> NDArray[np.bool_]:
        """Which objects hold a pixel of their class."""
        right = ids[(labels == mask) & (ids > 0)]
        counts = torch.bincount(right, minlength=len(self._classes) + 1)
        return np.asarray(counts[1:].cpu().numpy() > 0)

    def _inside(self, moved: Moved) -> NDArray[np.bool_]:
        top, bottom, left, right = self._boxes.T
        rows = (top >= moved.rows.start) & (bottom <= moved.rows.stop)
        return np.asarray(rows & (left >= moved.columns.start) & (right <= moved.columns.stop))


def _components(
    mask: NDArray[np.int16],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """(H, W) ids from 1 up, the class of each, and its (top, bottom, left, right), ends open."""
    ids = np.zeros(mask.shape, np.int32)
    classes: list[int] = []
    for label in _foreground(mask):
        own, count = ndimage.label(mask == label, structure=_EIGHT_NEIGHBOURS)
        ids[own > 0] = own[own > 0] + len(classes)
        classes += [label] * count
    boxes = [
        (rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in ndimage.find_objects(ids)
    ]
    return ids, np.array(classes, np.int64), np.array(boxes, np.int64).reshape(-1, 4)


def _foreground(mask: NDArray[np.int16]) -> Iterator[int]:
    yield from (int(label) for label in np.unique(mask) if label > 0)
