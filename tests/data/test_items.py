"""Items are made from packed columns as they are asked for."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from equiaudit.data import Item, Items, open_dataset
from equiaudit.data.items import Names, Truths

ROOT = Path("root")


@pytest.fixture
def items() -> Items:
    labels = np.array([3, -1, 0], np.int32)
    listed = np.array([1, 4, 9], np.int32)
    truths = Truths(Path("masks"), Names.of(["x.png", "y.png", "z.png"]))
    return Items.of(ROOT, ["a.png", "ä/b.png", "c"], labels, listed, truths)


def test_an_item_holds_what_was_packed(items: Items) -> None:
    assert list(items) == [
        Item("a.png", ROOT / "a.png", 3, 1, Path("masks/x.png")),
        Item("ä/b.png", ROOT / "ä/b.png", None, 4, Path("masks/y.png")),
        Item("c", ROOT / "c", 0, 9, Path("masks/z.png")),
    ]
    assert [items[i] for i in range(3)] == list(items)
    assert items[-1] == items[2]
    with pytest.raises(IndexError):
        items[3]


def test_parts_share_the_names_and_keep_the_order(items: Items) -> None:
    part = items.taken([2, 0])
    assert [item.file for item in part] == ["c", "a.png"]
    assert part.indices.tolist() == [9, 1]
    assert part.names is items.names
    assert list(items[1:]) == list(items)[1:]
    assert items[1:][:1] == items.taken([1])
    assert items[:0] != items
    assert len({items, items[:], items[1:]}) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\n.png"
    with open(path, "wb"):
        pass
    (item,) = open_dataset(tmp_path).items
    assert item.file == "\\xff\n.png"
    assert os.fsencode(item.path) == path


def test_an_image_is_found_by_its_index(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:02}.png").touch()
    dataset = open_dataset(tmp_path, limit=7, seed=1)
    for item in dataset.items:
        assert dataset.item(item.index) == item
    for absent in set(range(22)) - {item.index for item in dataset.items}:
        with pytest.raises(KeyError):
            dataset.item(absent)
