"""Sequences of windows that slide 1 px per frame over a large labelled photo, as CAPS has them.

The published frames (arXiv 2309.16902) show one defect in the *middle* of the window, where
only sampling can disturb it, and 2 px from a corner, at the *boundary*, where padding and
missing context can too. The whole defect is in every frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CAPS = "caps"
SETTINGS = ("middle", "boundary")
CAPS_KINDS = tuple(f"{CAPS}-{setting}" for setting in SETTINGS)
"""Where the figures of the protocol stand in a result."""
FRAMES = 17
"""Windows per sequence: every phase of a total stride of 16, and one more."""
BORDER = 2
"""Pixels between the defect and the two borders nearest to it in the first frame."""
_CLEAR = 8
"""A defect in the middle keeps this fraction (1/8) of the window from every border."""
_MOST = 32
"""Defects of one photo that are tried, the largest first."""

Box = tuple[int, int, int, int]
Corners = NDArray[np.int64]


def place(
    defects: NDArray[np.bool_], window: tuple[int, int], setting: str, frames: int = FRAMES
) -> Corners | None:
    """Upper left corners (frames, 2) of the windows of one sequence, in px; None without room.

    `defects` is (h, w), True on a defect; `window` is (H, W). The windows move 1 px per frame,
    to the right or, where the photo has no room for that, down. Of the largest defect that
    allows it, the first place is taken where all windows lie inside the photo and show the
    same defect pixels:

    - "middle": the defect is as near to the middle of the middle frame as the photo allows,
      and in all frames an eighth of the window from every border;
    - "boundary": the defect begins `BORDER` px from a corner of the window (lower right,
      lower left, upper right, upper left, in this order), and the window moves so that it
      stays at one of the two borders and leaves the other.
    """
    across = _place(defects, window, setting, frames)
    if across is not None:
        return across
    down = _place(defects.T, window[::-1], setting, frames)
    return None if down is None else down[:, ::-1]


def _place(
    defects: NDArray[np.bool_], window: tuple[int, int], setting: str, frames: int
) -> Corners | None:
    """`place` for windows that move along the columns."""
    tried = _middle if setting == "middle" else _boundary
    for box in _boxes(defects):
        for corners in tried(box, window, frames, defects.shape):
            if _inside(corners, window, defects.shape) and _alike(defects, corners, window):
                return corners
    return None


def _boxes(defects: NDArray[np.bool_]) -> list[Box]:
    """(top, bottom, left, right), ends excluded, of the connected defects, the largest first."""
    from scipy import ndimage  # slow to import, and for this alone

    labels, count = ndimage.label(defects, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())[1:]
    slices = ndimage.find_objects(labels)
    largest = np.argsort(-areas, kind="stable")[: min(count, _MOST)]
    found = (slices[i] for i in largest)
    return [(rows.start, rows.stop, cols.start, cols.stop) for rows, cols in found]


def _middle(
    box: Box, window: tuple[int, int], frames: int, size: tuple[int, ...]
) -> Iterator[Corners]:
    top, bottom, left, right = box
    far = frames - 1
    row = _nearest((top + bottom - window[0]) // 2, size[0] - window[0])
    column = _nearest((left + right - window[1] - far) // 2, size[1] - window[1] - far)
    clear = (top - row, row + window[0] - bottom, left - column - far, column + window[1] - right)
    if min(clear) * _CLEAR >= min(window):
        yield _sliding(row, column, 1, frames)


def _nearest(wanted: int, largest: int) -> int:
    return max(0, min(wanted, largest))


def _boundary(
    box: Box, window: tuple[int, int], frames: int, size: tuple[int, ...]
) -> Iterator[Corners]:
    top, bottom, left, right = box
    fits = bottom - top + BORDER <= window[0] and right - left + BORDER + frames - 1 <= window[1]
    if not fits:
        return
    for row in (bottom + BORDER - window[0], top - BORDER):
        yield _sliding(row, right + BORDER - window[1], 1, frames)
        yield _sliding(row, left - BORDER, -1, frames)


def _sliding(row: int, column: int, step: int, frames: int) -> Corners:
    columns = column + step * np.arange(frames)
    return np.stack([np.full(frames, row), columns], axis=1).astype(np.int64)


def _inside(corners: Corners, window: tuple[int, int], size: tuple[int, ...]) -> bool:
    low, high = corners.min(axis=0), corners.max(axis=0) + np.array(window)
    return bool((low >= 0).all() and (high <= np.array(size)).all())


def _alike(defects: NDArray[np.bool_], corners: Corners, window: tuple[int, int]) -> bool:
    """Whether nothing enters or leaves: all that any window shows, all of them show."""
    row, first, last = corners[0, 0], corners[:, 1].min(), corners[:, 1].max()
    strip = defects[row : row + window[0]]
    seen_by_any, seen_by_all = (
        strip[:, first : last + window[1]],
        strip[:, last : first + window[1]],
    )
    return bool(seen_by_any.sum() == seen_by_all.sum())
