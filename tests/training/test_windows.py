"""Against slices: what a window shows, where black enters, what a mask says there."""

from __future__ import annotations

import numpy as np
import pytest

from equiaudit.training.windows import Moves, Windows, cut

IGNORED = -1
SIDE = (6, 8)


def photo(height: int = 6, width: int = 8) -> np.ndarray:
    """Every pixel has a value of its own, and none is black."""
    return (np.arange(height * width).reshape(height, width, 1) + 1).astype(np.uint16)


def drawn(moves: Moves, size: tuple[int, int] = SIDE, count: int = 300, seed: int = 0) -> Windows:
    photos = [photo(*size)] * count
    masks = [p[..., 0].astype(np.int16) % 5 for p in photos]
    return cut(photos, masks, SIDE, moves, np.random.default_rng(seed))


def moved_by_slices(window: np.ndarray, dy: int, dx: int, entering: int) -> np.ndarray:
    """The content moves down by dy and right by dx."""
    padded = np.full((window.shape[0] + 2 * 9, window.shape[1] + 2 * 9), entering, np.int64)
    padded[9 + dy : 9 + dy + window.shape[0], 9 + dx : 9 + dx + window.shape[1]] = window
    return padded[9:-9, 9:-9]


def crops_by_slices(whole: np.ndarray, crop: int) -> list[np.ndarray]:
    """The middle window of a photo moved by up to `crop`, and the mirror images of them."""
    top, left = (whole.shape[0] - SIDE[0]) // 2, (whole.shape[1] - SIDE[1]) // 2
    padded = np.pad(whole, crop, mode="reflect")
    steps = range(-crop, crop + 1)
    views = [
        padded[top + crop - y :, left + crop - x :][: SIDE[0], : SIDE[1]]
        for y in steps
        for x in steps
    ]
    return [*views, *(view[:, ::-1] for view in views)]


def found_in(pictures: np.ndarray, views: list[np.ndarray]) -> list[int | None]:
    return [
        next((i for i, view in enumerate(views) if np.array_equal(view, picture)), None)
        for picture in pictures
    ]


@pytest.mark.parametrize("size", [(6, 8), (10, 9)])
def test_crops_are_slices_of_the_photo_and_of_its_mirror_image(size: tuple[int, int]) -> None:
    windows = drawn(Moves(crop=2), size)
    seen = found_in(windows.moved[..., 0], crops_by_slices(photo(*size)[..., 0], 2))
    assert None not in seen
    assert len(set(seen)) > 40
    assert windows.asked.all()


def test_anywhere_means_every_place_of_the_photo_and_none_beyond() -> None:
    windows = drawn(Moves(crop=0, anywhere=True, flip=False), (10, 14))
    whole = photo(10, 14)[..., 0]
    views = [whole[y : y + 6, x : x + 8] for y in range(5) for x in range(7)]
    assert set(found_in(windows.moved[..., 0], views)) == set(range(35))


def test_black_enters_as_slices_say_and_nothing_is_asked_there() -> None:
    windows = drawn(Moves(crop=3, flip=False, zero_pad=1.0), count=400)
    offsets = set()
    values = (pixels[..., 0].astype(np.int64) for pixels in (windows.still, windows.moved))
    pixels = zip(*values, windows.masks, strict=True)
    for (still, moved, mask), asked in zip(pixels, windows.asked, strict=True):
        dy, dx = next(
            (y, x)
            for y in range(-3, 4)
            for x in range(-3, 4)
            if np.array_equal(moved, moved_by_slices(still, y, x, 0))
        )
        offsets.add((dy, dx))
        # The mask of a pixel follows from its value, wherever it went.
        assert np.array_equal(mask, np.where(moved > 0, moved % 5, IGNORED))
        assert np.array_equal(asked, moved > 0)
    assert len(offsets) > 45


def test_without_black_and_rolls_nothing_moves_after_the_crop() -> None:
    windows = drawn(Moves(crop=3))
    assert np.array_equal(windows.still, windows.moved)
    assert (windows.moved > 0).all()
    assert windows.asked.all()


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 0.15, 0.35), (1.0, 1, 1)])
def test_the_share_of_black_is_as_asked(share: float, least: float, most: float) -> None:
    moved = drawn(Moves(crop=2, zero_pad=share), count=600).rows
    # One window in 25 moves by nothing, and one in five not along this axis.
    black = (moved < 0).any(1).mean() / 0.8
    assert least - 0.06 <= black <= most + 0.06
    assert (black == 0) == (share == 0)


def test_shifts_on_the_torus_keep_every_pixel() -> None:
    windows = drawn(Moves(crop=0, roll=1.0, flip=False))
    rolls = [np.roll(photo()[..., 0], (y, x), (0, 1)) for y in range(6) for x in range(8)]
    assert set(found_in(windows.moved[..., 0], rolls)) == set(range(48))


def test_windows_are_laid_on_objects() -> None:
    mask = np.zeros((40, 40), np.int16)
    mask[2, 37], mask[:, 20] = 3, IGNORED
    photos = [np.ones((40, 40, 1), np.uint8)] * 200
    shares = [
        np.mean(
            [
                (m == 3).any()
                for m in cut(photos, [mask] * 200, SIDE, moves, np.random.default_rng(0)).masks
            ]
        )
        for moves in (
            Moves(crop=0, anywhere=True, objects=0.0),
            Moves(crop=0, anywhere=True, objects=0.5),
            Moves(crop=0, anywhere=True, objects=1.0),
        )
    ]
    assert shares[0] < 0.1
    assert 0.4 < shares[1] < 0.7
    assert shares[2] == 1


def test_the_same_seed_gives_the_same_windows_and_another_one_others() -> None:
    moves = Moves(crop=2, zero_pad=0.5)
    first, again, other = (drawn(moves, seed=seed).moved for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
