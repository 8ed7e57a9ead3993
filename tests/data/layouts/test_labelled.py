"""Miniatures of published layouts with a class per image, against the labels they were built of."""

from pathlib import Path

import pytest

from equiaudit.data import open_dataset
from equiaudit.errors import InputError


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def labels(data: Path, **known: object) -> list[int | None]:
    return [item.label for item in open_dataset(data, **known).items]


@pytest.mark.parametrize("below", ["", "val/"])
def test_the_validation_list_of_imagenet(tmp_path: Path, below: str) -> None:
    """val.txt of the Caffe distribution: "ILSVRC2012_val_00000001.JPEG 65", from 0."""
    rows = []
    for i, label in enumerate([65, 970, 230, 0, 999]):
        name = f"ILSVRC2012_val_{i + 1:08}.JPEG"
        image(tmp_path / below / name)
        rows.append(f"{name} {label}")
    (tmp_path / "val.txt").write_text("\n".join(rows) + "\n")
    data = open_dataset(tmp_path, num_classes=1000)
    assert [item.label for item in data.items] == [65, 970, 230, 0, 999]
    assert data.layout == "imagenet-list"
    assert "5 of 5 images labelled from columns 1 and 2 of val.txt." in data.notes


def test_a_list_of_names_alone_is_no_list_of_labels(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "val.txt").write_text("a.png\n")
    assert open_dataset(tmp_path).layout == "flat"


@pytest.mark.parametrize("root", ["", "val"])
def test_tiny_imagenet(tmp_path: Path, root: str) -> None:
    """tiny-imagenet-200/val: images/ and val_annotations.txt with wnid and box, tab separated."""
    wnids = ["n03444034", "n01443537", "n03444034", "n02099712"]
    rows = []
    for i, wnid in enumerate(wnids):
        image(tmp_path / "val" / "images" / f"val_{i}.JPEG")
        rows.append(f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62")
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows))
    image(tmp_path / "train" / "n01443537" / "images" / "n01443537_0.JPEG")
    data = open_dataset(tmp_path / root, num_classes=3)
    assert data.layout == "tiny-imagenet"
    assert [item.label for item in data.items] == [2, 0, 2, 1]
    assert labels(tmp_path / root, num_classes=1000) == [573, 1, 573, 208]


def test_the_list_of_tiny_imagenet_is_another_order(tmp_path: Path) -> None:
    """wnids.txt has the 200 classes, not sorted; nets were trained by it, and by ImageFolder."""
    wnids = ["n03444034", "n01443537", "n02099712"]
    for i, wnid in enumerate(wnids[:2]):
        image(tmp_path / "val" / "images" / f"val_{i}.JPEG")
        with (tmp_path / "val" / "val_annotations.txt").open("a") as table:
            table.write(f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (tmp_path / "wnids.txt").write_text("\n".join(wnids))
    for root in (tmp_path, tmp_path / "val"):
        doubt = open_dataset(root, num_classes=3).doubt
        assert [own.tolist() for own in doubt.labels] == [[2, 0], [0, 1]]
        assert labels(root, num_classes=3, class_order="index") == [0, 1]
        assert labels(root, num_classes=3, class_order="string") == [2, 0]
        assert labels(root, num_classes=1000) == [573, 1]
    with pytest.raises(InputError, match="which is which cannot be told"):
        open_dataset(tmp_path, num_classes=4)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_hugging_face(tmp_path: Path, kind: str) -> None:
    """metadata.csv or .jsonl with file_name, as the docs of imagefolder have it."""
    names = ["dog", "cat", "dog"]
    rows = []
    for i, name in enumerate(names):
        image(tmp_path / f"{i:04}.png")
        rows.append(
            f"{i:04}.png,{name}"
            if kind == "csv"
            else f'{{"file_name": "{i:04}.png", "label": "{name}"}}'
        )
    head = ["file_name,label"] if kind == "csv" else []
    (tmp_path / f"metadata.{kind}").write_text("\n".join(head + rows))
    data = open_dataset(tmp_path, num_classes=2)
    assert data.layout == "hugging-face"
    assert [item.label for item in data.items] == [1, 0, 1]


def test_captions_are_no_classes(tmp_path: Path) -> None:
    image(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.png,a dog on a mat")
    assert not open_dataset(tmp_path).labelled


def test_splits_beside_each_other_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        image(tmp_path / split / "cat" / "1.png")
    with pytest.raises(InputError, match="parts of a data set"):
        open_dataset(tmp_path, num_classes=2)
