from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from equiaudit.shifts.sliding import BORDER, FRAMES, place

WINDOW = (64, 48)


def photo(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (200, 240)) -> NDArray:
    defects = np.zeros(size, bool)
    for top, bottom, left, right in boxes:
        defects[top:bottom, left:right] = True
    return defects


def cuts(defects: NDArray, corners: NDArray) -> list[NDArray]:
    return [defects[r : r + WINDOW[0], c : c + WINDOW[1]] for r, c in corners]


@pytest.mark.parametrize("setting", ["middle", "boundary"])
@pytest.mark.parametrize(
    ("size", "corner", "axis"),
    [((200, 240), (96, 117), 1), ((200, 56), (96, 20), 0), ((72, 240), (30, 117), 1)],
    ids=["wide", "narrow: down", "low: across"],
)
def test_every_frame_shows_the_whole_defect_a_pixel_further(
    setting: str, size: tuple[int, int], corner: tuple[int, int], axis: int
) -> None:
    if setting == "boundary":
        corner = tuple(min(c, n - w + BORDER) for c, n, w in zip(corner, size, WINDOW, strict=True))
    (top, left) = corner
    defects = photo((top, top + 8, left, left + 6), size=size)
    corners = place(defects, WINDOW, setting)
    assert corners is not None
    assert corners.shape == (FRAMES, 2)
    assert np.abs(np.diff(corners, axis=0)[:, axis]).tolist() == [1] * (FRAMES - 1)
    assert np.ptp(corners, axis=0)[1 - axis] == 0
    frames = cuts(defects, corners)
    assert all(frame.shape == WINDOW and frame.sum() == 48 for frame in frames)
    places = np.array([np.argwhere(frame).min(axis=0) for frame in frames])
    assert (places + corners == places[0] + corners[0]).all()


def test_the_middle_of_the_middle_frame() -> None:
    corners = place(photo((100, 110, 120, 130)), WINDOW, "middle")
    assert corners is not None
    assert corners[FRAMES // 2].tolist() == [105 - 32, 125 - 24]


def test_the_boundary_begins_at_the_lower_right_and_moves_away_from_the_right() -> None:
    corners = place(photo((100, 110, 120, 130)), WINDOW, "boundary")
    assert corners is not None
    first = corners[0] + WINDOW - np.array([110, 130])
    assert first.tolist() == [BORDER, BORDER]
    last = corners[-1] + WINDOW - np.array([110, 130])
    assert last.tolist() == [BORDER, BORDER + FRAMES - 1]


@pytest.mark.parametrize(
    ("box", "row", "column"),
    [((10, 20, 200, 210), "top", "right"), ((150, 160, 4, 14), "bottom", "left")],
)
def test_another_corner_where_the_photo_ends(
    box: tuple[int, int, int, int], row: str, column: str
) -> None:
    corners = place(photo(box), WINDOW, "boundary")
    assert corners is not None
    top, left = corners[0]
    near_top, near_left = box[0] - top == BORDER, box[2] - left == BORDER
    assert (near_top, near_left) == (row == "top", column == "left")


def test_a_defect_that_would_enter_is_gone_around() -> None:
    alone = place(photo((100, 110, 120, 130)), WINDOW, "boundary")
    assert alone is not None
    right_of_it = int(alone[0, 1]) + WINDOW[1]
    disturbed = photo((100, 110, 120, 130), (100, 104, right_of_it, right_of_it + 4))
    corners = place(disturbed, WINDOW, "boundary")
    assert corners is not None
    assert corners.tolist() != alone.tolist()
    assert len({int(frame.sum()) for frame in cuts(disturbed, corners)}) == 1


def test_the_largest_defect_is_taken() -> None:
    corners = place(photo((20, 24, 20, 24), (120, 132, 150, 160)), WINDOW, "middle")
    assert corners is not None
    assert corners[FRAMES // 2].tolist() == [126 - 32, 155 - 24]


@pytest.mark.parametrize("setting", ["middle", "boundary"])
@pytest.mark.parametrize(
    "defects",
    [photo(), photo((0, 200, 0, 240)), photo((40, 44, 40, 44), size=(64, 63))],
    ids=["none", "everywhere", "photo too small"],
)
def test_no_room(defects: NDArray, setting: str) -> None:
    assert place(defects, WINDOW, setting) is None
