"""Published layouts give back the ids that they were built from, without a flag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from miniatures import CASES, COUNT, SIZE, Material

from equiaudit.data import Decoded, Geometry, MaskReader, decode, open_dense_dataset
from equiaudit.data.layouts import ALL


def read(root: Path, classes: int) -> tuple[str, list[Decoded]]:
    data = open_dense_dataset(root, "segmentation", MaskReader(classes))
    assert data.labelled
    found = [decode(item, Geometry(window=SIZE), data.truth) for item in data.items]
    assert all(isinstance(each, Decoded) for each in found)
    return data.layout, found


@pytest.mark.parametrize("case", CASES)
def test_a_published_layout_is_read_without_a_flag(case: str, tmp_path: Path) -> None:
    layout, classes, write = CASES[case]
    material = Material(classes)
    write(tmp_path / "theirs", material)
    found, images = read(tmp_path / "theirs", classes)
    assert found == layout
    assert len(images) == COUNT
    left = {image.tobytes(): ids for image, ids in zip(material.images, material.ids, strict=True)}
    for image in images:  # found by its pixels: each once, with its own ids
        assert np.array_equal(image.truth.values, left.pop(image.pixels.tobytes()))


def test_every_layout_of_masks_has_a_miniature() -> None:
    known = {layout.name for layout in ALL if layout.kind == "segmentation"}
    own_tests = {"datasets"}
    assert known - {"flat"} - own_tests == {layout for layout, _, _ in CASES.values()}
