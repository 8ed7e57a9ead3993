"""Masks are never audited as photos, and names with two readings are asked about."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from miniatures import CASES, Material, beside, grey, mvtec, own, put

from equiaudit.data import MaskReader, TargetReader, open_dataset, open_dense_dataset
from equiaudit.errors import InputError

READER = MaskReader(3)
PIXELS = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)
IDS = np.arange(16 * 24).reshape(16, 24) % 3


def files(root: Path, *names: str) -> Path:
    """Masks are those with "mask" or "gt" in their name, or of a folder called so."""
    for name in names:
        is_mask = any(word in name.lower() for word in ("mask", "gt", "truth", "scores"))
        put(root / name, grey(IDS) if is_mask else PIXELS)
    return root


def opened(root: Path, **how: object) -> list[tuple[str, str | None]]:
    items = open_dense_dataset(root, "segmentation", READER, **how).items
    return [(i.file, None if i.truth is None else i.truth.name) for i in items]


@pytest.mark.parametrize("case", sorted(set(CASES) - {"own", "npy", "severstal", "coco"}))
def test_no_mask_is_an_image(case: str, tmp_path: Path) -> None:
    _, classes, write = CASES[case]
    write(tmp_path, Material(classes))
    items = open_dense_dataset(tmp_path, "segmentation", MaskReader(classes)).items
    masks = {item.truth for item in items if item.truth is not None}
    assert not masks & {item.path for item in items}


@pytest.mark.parametrize(
    "names",
    [
        ("camera/a.jpg", "scores/groundtruth/a.png"),
        ("a.jpg", "sub/masks/z.png"),
        ("x/GT/a.png", "y/b.png"),
    ],
)
@pytest.mark.parametrize("task", ["segmentation", "image"])
def test_what_may_be_masks_in_no_known_layout_is_refused(
    tmp_path: Path, names: tuple[str, ...], task: str
) -> None:
    files(tmp_path, *names)
    reader = READER if task == "segmentation" else TargetReader()
    with pytest.raises(InputError, match=r"as masks do.*equiaudit layouts .*--layout flat"):
        open_dense_dataset(tmp_path, task, reader)
    found = open_dense_dataset(tmp_path, task, reader, layout="flat")
    assert len(found) == len(names)
    assert not found.labelled


def test_an_image_that_is_called_as_a_mask_is_an_image(tmp_path: Path) -> None:
    files(tmp_path / "alone", "venice_mask.jpg", "rome.jpg")
    assert opened(tmp_path / "alone") == [("rome.jpg", None), ("venice_mask.jpg", None)]
    put(tmp_path / "both/images/a_mask.png", PIXELS)
    put(tmp_path / "both/masks/a_mask.png", grey(IDS))
    assert opened(tmp_path / "both") == [("a_mask.png", "a_mask.png")]


def test_a_suffix_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    for name in ("a", "a_mask"):
        put(tmp_path / f"images/{name}.png", PIXELS)
    put(tmp_path / "masks/a_mask.png", grey(IDS))
    with pytest.raises(InputError, match=r"as images-masks and as pairs"):
        opened(tmp_path)
    with pytest.raises(InputError, match=r"which is the mask cannot be told"):
        opened(tmp_path, layout="images-masks")
    put(tmp_path / "masks/a.png", grey(IDS))
    assert opened(tmp_path, layout="images-masks") == [
        ("a.png", "a.png"),
        ("a_mask.png", "a_mask.png"),
    ]


def test_two_kinds_of_masks_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "a_mask.png", "a_gt.png")
    with pytest.raises(InputError, match=r"a_mask\.png.*a_gt\.png"):
        opened(tmp_path)


def test_two_layouts_that_fit_are_named(tmp_path: Path) -> None:
    files(tmp_path, "images/a.jpg", "masks/a.png", "more/b.png", "more/b_mask.png")
    with pytest.raises(InputError, match=r"as images-masks and as pairs\..*--layout pairs"):
        opened(tmp_path)
    assert opened(tmp_path, layout="images-masks") == [("a.jpg", "a.png")]


def test_an_image_without_a_mask_is_named_and_may_show_background(tmp_path: Path) -> None:
    files(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a_mask.png")
    with pytest.raises(
        InputError, match=r"b\.jpg has no mask, as .*a\.jpg has masks/a_mask\.png .*--no-mask"
    ):
        opened(tmp_path)
    found = [("a.jpg", "a_mask.png"), ("b.jpg", None)]
    assert opened(tmp_path, no_mask="background") == found
    put(tmp_path / "masks/B_mask.png", grey(IDS))
    with pytest.raises(InputError, match=r"b\.jpg has no mask, and .*B_mask\.png is of no image"):
        opened(tmp_path, no_mask="background")


def test_normal_images_of_mvtec_need_no_mask_and_others_do(tmp_path: Path) -> None:
    mvtec(tmp_path, Material(2))
    (tmp_path / "ground_truth/crack/001_mask.png").unlink()
    with pytest.raises(InputError, match=r"test/crack/001\.png has no mask"):
        open_dense_dataset(tmp_path, "segmentation", MaskReader(2))


def test_splits_of_our_own_layout_are_all_read_and_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        own(tmp_path / split, Material(3))
    found = open_dense_dataset(tmp_path, "segmentation", READER)
    assert len(found) == 16
    assert "The images of train, val are all read; --split takes one of them." in found.notes
    assert len(open_dense_dataset(tmp_path, "segmentation", READER, split="val")) == 8
    with pytest.raises(InputError, match=r"no split 'test'.*It has train, val"):
        open_dense_dataset(tmp_path, "segmentation", READER, split="test")


def test_what_lies_beside_the_images_is_named(tmp_path: Path) -> None:
    files(tmp_path, "images/a.jpg", "masks/a.png")
    for name in ("b.jfif", "c.jfif", "metadata.csv"):
        (tmp_path / "images" / name).write_bytes(b"x")
    (note,) = open_dense_dataset(tmp_path, "segmentation", READER).notes
    assert note == (
        "Beside the images and not read: 2 of .jfif (images/b.jfif), 1 of .csv"
        " (images/metadata.csv)."
    )


def test_a_layout_of_another_kind_or_no_layout_is_refused(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg")
    with pytest.raises(InputError, match=r"class-folders is of classification data"):
        opened(tmp_path, layout="class-folders")
    with pytest.raises(InputError, match=r"no layout 'mvtek'"):
        opened(tmp_path, layout="mvtek")


@pytest.mark.parametrize("write", ["beside", "mvtec", "labels"])
def test_masks_are_no_class_and_no_photo_of_a_classifier(tmp_path: Path, write: str) -> None:
    if write == "beside":
        beside(tmp_path, Material(3))
    elif write == "mvtec":
        mvtec(tmp_path, Material(2))
    else:
        files(tmp_path, "images/a.jpg", "labels/b.png")
    with pytest.raises(InputError, match=r"as masks (do|are)"):
        open_dataset(tmp_path)


def test_classes_that_are_called_as_masks_are_classes(tmp_path: Path) -> None:
    """Of a data set of faces."""
    files(tmp_path, "with_mask/a.jpg", "without_mask/b.jpg")
    assert dict(open_dataset(tmp_path, num_classes=2).class_names) == {
        0: "with_mask",
        1: "without_mask",
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("img_1.png", "mask_1.png", "img_2.png", "mask_2.png"), "mask_1.png is called as img_1"),
        (("a/x.png", "a/x_0_label_3.png", "a/x_0_3.png"), "x_0_label_3.png is called as a/x_0_3"),
    ],
)
@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_names_that_are_alike_but_for_words(
    tmp_path: Path, names: tuple[str, ...], said: str, task: str
) -> None:
    files(tmp_path, *names)
    for layout in ("auto", "flat" if "a/x.png" not in names else "class-folders"):
        if task == "classification":
            call = partial(open_dataset, tmp_path, num_classes=1, layout=layout)
        else:
            how = "flat" if layout != "auto" else layout
            call = partial(open_dense_dataset, tmp_path, task, READER, layout=how)
        if layout == "auto":
            with pytest.raises(InputError, match=said):
                call()
        else:
            assert len(call()) == len(names)


def test_images_of_few_colours_among_photos_may_be_masks(tmp_path: Path) -> None:
    for i in range(20):
        put(tmp_path / "a" / f"{i:02}.png", PIXELS)
        put(tmp_path / "b" / f"{i:02}.png", grey(IDS))
    with pytest.raises(InputError, match=r"b/00.png has 3 colours, as masks have.*--layout flat"):
        opened(tmp_path)
    assert len(opened(tmp_path, layout="flat")) == 40
    for i in range(18):  # a few are no reason
        (tmp_path / "b" / f"{i:02}.png").unlink()
    assert len(opened(tmp_path)) == 22
    for i in range(20):  # what is blank is none
        put(tmp_path / "b" / f"{i:02}.png", grey(IDS * 0))
    assert len(opened(tmp_path)) == 40
