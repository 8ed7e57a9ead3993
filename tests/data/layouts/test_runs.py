"""Runs and polygons against pycocotools, where it is installed, and against slow loops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import SIZE, Material, coco, counts, put, runs_of, severstal

from equiaudit.data import Decoded, Geometry, MaskReader, decode, open_dense_dataset
from equiaudit.data.layouts.runs import counts_of_text, filled_column_runs, filled_counts
from equiaudit.errors import InputError


def drawn(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(rng.integers(1, 10, 2)) < rng.random()


MASKS = st.integers(0, 2**32 - 1).map(drawn)


@given(MASKS)
def test_runs_come_back_as_they_were(mask: np.ndarray) -> None:
    size = (mask.shape[0], mask.shape[1])
    assert np.array_equal(filled_column_runs(runs_of(mask.ravel(order="F")), size), mask)
    assert np.array_equal(filled_counts(counts(mask)["counts"], size), mask)


@given(MASKS)
def test_the_text_of_counts_is_read_as_pycocotools_writes_it(mask: np.ndarray) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(filled_counts(counts_of_text(text), mask.shape), mask)


@pytest.mark.parametrize("text", ["1", "0 3", "5 9", "1 -2", "x 1"])
def test_runs_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        filled_column_runs(text, (3, 4))


@pytest.mark.parametrize("found", [[], [3], [13], [20, -8], [1, 2, 3]])
def test_counts_that_do_not_add_up_are_refused(found: list[int]) -> None:
    with pytest.raises(ValueError, match="do not add up"):
        filled_counts(found, (3, 4))


@pytest.mark.parametrize("text", ["_", "o" * 40, "\x01", "\u20ac"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a run holds|ends in the middle"):
        counts_of_text(text)


def masks_of(root: Path, classes: int) -> list[np.ndarray]:
    data = open_dense_dataset(root, "segmentation", MaskReader(classes))
    found = [decode(item, Geometry(window=SIZE), data.truth) for item in data.items]
    assert all(isinstance(each, Decoded) for each in found)
    return [each.truth.values for each in found]


def test_polygons_are_filled_and_small_objects_lie_over_large_ones(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", np.zeros((*SIZE, 3), np.uint8))

    def square(low: int, high: int) -> list[list[int]]:
        return [[low, low, high, low, high, high, low, high]]

    shapes = [(1, square(5, 7)), (2, square(2, 12))]
    table = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {"image_id": 1, "category_id": k, "segmentation": shape} for k, shape in shapes
        ],
        "categories": [{"id": k, "name": str(k)} for k in (1, 2)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(table))
    expected = np.zeros(SIZE, int)
    expected[2:13, 2:13] = 2
    expected[5:8, 5:8] = 1
    (found,) = masks_of(tmp_path, 3)
    assert np.array_equal(found, expected)


def test_categories_are_settled_by_the_number_of_classes_or_asked(tmp_path: Path) -> None:
    coco(tmp_path, Material(4))
    dense = {i for ids in masks_of(tmp_path, 4) for i in np.unique(ids)}
    assert dense == {0, 1, 2, 3}
    assert {i for ids in masks_of(tmp_path, 21) for i in np.unique(ids)} == {0, 3, 7, 20}
    with pytest.raises(InputError, match=r"3 categories with ids up to 20.*5 classes.*--classes"):
        masks_of(tmp_path, 5)


def test_a_row_of_no_image_is_named(tmp_path: Path) -> None:
    severstal(tmp_path, Material(5))
    (tmp_path / "train_images" / "0003.jpg").unlink()
    with pytest.raises(InputError, match=r"Line \d+ of .*train\.csv names 0003\.jpg"):
        masks_of(tmp_path, 5)
