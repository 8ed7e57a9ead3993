import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equiaudit.data import (
    Decoded,
    Geometry,
    Item,
    TooSmall,
    TruthReader,
    decode_ahead,
    open_dataset,
    prefetch,
)
from equiaudit.results import Skipped

WINDOW = Geometry((4, 4))


@pytest.fixture
def items(tmp_path: Path) -> tuple[Item, ...]:
    for i in range(40):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i:02}.png")
    return open_dataset(tmp_path).items


def threads() -> int:
    return sum(t.name.startswith("equiaudit-decode") for t in threading.enumerate())


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (3, 1), (2, 7), (4, 100)])
def test_order_does_not_depend_on_threads(
    items: tuple[Item, ...], workers: int, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = prefetch.decode

    def uneven(item: Item, geometry: Geometry, truth: TruthReader | None) -> Decoded | Skipped:
        time.sleep(0.002 * (item.index % 3 == 0))
        return decode(item, geometry, truth)

    monkeypatch.setattr(prefetch, "decode", uneven)
    red = [d.pixels[0, 0, 0] for d in decode_ahead(items, WINDOW, workers=workers, ahead=ahead)]
    np.testing.assert_array_equal(red, range(40))
    assert threads() == 0


def test_unreadable_files_keep_their_turn(items: tuple[Item, ...]) -> None:
    items[3].path.write_text("broken")
    items[5].path.unlink()
    found = list(decode_ahead(items, WINDOW, workers=2, ahead=4))
    assert [i for i, one in enumerate(found) if isinstance(one, Skipped)] == [3, 5]
    assert found[3].name == "03.png"


def test_no_more_than_ahead_are_held(
    items: tuple[Item, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    decode = prefetch.decode

    def counted(item: Item, geometry: Geometry, truth: TruthReader | None) -> Decoded | Skipped:
        started.append(item.index)
        return decode(item, geometry, truth)

    monkeypatch.setattr(prefetch, "decode", counted)
    excess = []
    for handed_out, _ in enumerate(decode_ahead(items, WINDOW, workers=4, ahead=6), start=1):
        time.sleep(0.002)
        excess.append(len(started) - handed_out)
    assert max(excess) == 6
    assert sorted(started) == list(range(40))


def test_items_are_taken_as_they_are_needed(items: tuple[Item, ...]) -> None:
    taken = []

    def endless() -> object:
        while True:
            taken.append(1)
            yield items[0]

    found = decode_ahead(endless(), WINDOW, workers=1, ahead=3)
    next(found)
    assert len(taken) == 4
    found.close()


def test_closing_ends_the_threads(items: tuple[Item, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    decode = prefetch.decode

    def slow(item: Item, geometry: Geometry, truth: TruthReader | None) -> Decoded | Skipped:
        started.append(item)
        time.sleep(0.01)
        return decode(item, geometry, truth)

    monkeypatch.setattr(prefetch, "decode", slow)
    found = decode_ahead(items, WINDOW, workers=1, ahead=30)
    next(found)
    found.close()
    assert threads() == 0
    assert len(started) < 10


def test_too_small_is_raised_in_its_turn(items: tuple[Item, ...]) -> None:
    Image.new("RGB", (3, 9)).save(items[2].path)
    found = decode_ahead(items, WINDOW, workers=4, ahead=20)
    assert [next(found).item.file for _ in range(2)] == ["00.png", "01.png"]
    with pytest.raises(TooSmall, match=r"02\.png"):
        next(found)
    assert threads() == 0


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (1, 0)])
def test_at_least_one_of_each(items: tuple[Item, ...], workers: int, ahead: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        decode_ahead(items, WINDOW, workers=workers, ahead=ahead)
