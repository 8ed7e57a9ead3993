"""The same images and masks in a published layout and in images/ + masks/ give one result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dense_small import dense_model, dense_scan, segmenter
from miniatures import CASES, Material, put
from PIL import Image

from equiaudit.data import Dataset, MaskReader, open_dense_dataset


def ours(theirs: Dataset, material: Material, root: Path) -> Path:
    """In the order of theirs, since shifts are drawn by an image's place."""
    ids_of = {i.tobytes(): ids for i, ids in zip(material.images, material.ids, strict=True)}
    for place, item in enumerate(theirs.items):
        pixels = np.asarray(Image.open(item.path).convert("RGB"))
        ids = ids_of[pixels.tobytes()]
        put(root / "images" / f"{place}.png", pixels)
        put(root / "masks" / f"{place}.png", np.where(ids < 0, 255, ids).astype(np.uint8))
    return root


@pytest.mark.parametrize("case", ["mvtec", "drive", "coco", "ade20k"])
def test_a_published_layout_gives_the_figures_of_our_own(case: str, tmp_path: Path) -> None:
    _, classes, write = CASES[case]
    material = Material(classes)
    write(tmp_path / "theirs", material)
    theirs = open_dense_dataset(tmp_path / "theirs", "segmentation", MaskReader(classes))
    root = ours(theirs, material, tmp_path / "ours")
    own = open_dense_dataset(root, "segmentation", MaskReader(classes, ignore=255))
    model = dense_model(segmenter(classes), classes=classes)
    results = [
        dense_scan(data, model, max_shift=2, offsets=3, shifts=("circular",)).result
        for data in (theirs, own)
    ]
    assert results[0].shifts == results[1].shifts
    assert [result.layout for result in results] == [theirs.layout, "images-masks"]
