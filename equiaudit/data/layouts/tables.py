"""Layouts of which a table says what belongs to what: VisA, Severstal."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.runs import filled_column_runs
from equiaudit.data.layouts.splits import chosen_split
from equiaudit.data.listing import ImageFile
from equiaudit.data.places import Place, read_text
from equiaudit.data.rules import MaskRule
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_VISA = ("split_csv/1cls.csv", "image_anno.csv")
_SEVERSTAL = "train.csv"


def rows_of(path: Place, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV that has these columns; InputError where it has not."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path} has no column {missing[0]}.", tip="See equiaudit layouts.")
        for row in reader:
            yield (
                reader.line_num,
                {name: (row[name] or "").strip() for name in reader.fieldnames or ()},
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table {path} cannot be read: {error}.") from None


def _first_line(path: Place) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(read_text(path))), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _visa_table(tree: Tree) -> str | None:
    for name in _VISA:
        if (tree.root / name).is_file() and {"image", "mask"} <= set(_first_line(tree.root / name)):
            return name
    return None


def _visa(tree: Tree, asked: Asked) -> Listing:
    name = _visa_table(tree)
    if name is None:
        raise InputError(f"{tree.root} has neither of {' and '.join(_VISA)}.")
    files = {file.name: file for file in tree.files}
    above = f"{tree.root.name}/"  # image_anno.csv names its own folder first
    truth, images, split = {}, {}, {}
    for line, row in rows_of(tree.root / name, "image", "label", "mask"):
        image, mask = (_there(tree, files, above, name, line, row[c]) for c in ("image", "mask"))
        if image is None:
            raise InputError(f"Line {line} of {tree.root / name} names no image.")
        if mask is None and row["label"].lower() != "normal":
            raise InputError(
                f"Line {line} of {tree.root / name} has {row['image']} as {row['label']!r} and"
                " names no mask of it.",
                tip="Only images labelled normal have none.",
            )
        images[image.name], split[image.name] = image, row.get("split", "")
        if mask is not None:
            truth[image.name] = mask
    ordered = sorted(images.values(), key=lambda image: os.fsencode(image.relative))
    kept, notes = chosen_split(
        ordered, lambda i: split[i.name], set(split.values()), ("test",), asked.split, tree.root
    )
    truth = {image.name: truth[image.name] for image in kept if image.name in truth}
    notes += (f"{len(kept) - len(truth)} normal images have no mask and count as background.",)
    return Listing(
        tree.root,
        kept,
        truth=truth,
        masked=True,
        rule=MaskRule(threshold=1),
        notes=notes,
        read_too=(name,),
    )


def _there(
    tree: Tree, files: Mapping[str, ImageFile], above: str, table: str, line: int, name: str
) -> ImageFile | None:
    if not name:
        return None
    found = files.get(name) or files.get(name.removeprefix(above))
    if found is None:
        raise InputError(f"Line {line} of {tree.root / table} names {name}, which is not there.")
    return found


@dataclass(frozen=True)
class RunDrawings:
    """Masks as runs of pixels, column by column from 1, a class each."""

    runs: Mapping[str, tuple[tuple[int, str], ...]] = field(repr=False)
    """Name of an image -> (class id, "start length start length ...")."""
    sha256: str

    def draw(self, name: str, size: tuple[int, int]) -> NDArray[np.int32]:
        """(H, W) class ids, 0 where no run is."""
        ids = np.zeros(size, np.int32)
        for index, runs in self.runs.get(name, ()):
            ids[filled_column_runs(runs, size)] = index
        return ids


def _severstal(tree: Tree, asked: Asked) -> Listing:
    table = tree.root / _SEVERSTAL
    joined = "ImageId_ClassId" in _first_line(table)
    columns = ("ImageId_ClassId",) if joined else ("ImageId", "ClassId")
    runs: dict[str, list[tuple[int, str]]] = {}
    digest = hashlib.sha256()
    images = {
        file.name: file.below("train_images/")
        for file in tree.images
        if file.name.startswith("train_images/")
    }
    for line, row in rows_of(table, *columns, "EncodedPixels"):
        image, index = row[columns[0]].rsplit("_", 1) if joined else (row[c] for c in columns)
        if f"train_images/{image}" not in images:
            raise InputError(
                f"Line {line} of {table} names {image}, which is not in train_images/."
            )
        if index not in ("1", "2", "3", "4"):
            raise InputError(f"Line {line} of {table} names class {index!r}; they are 1 to 4.")
        if row["EncodedPixels"]:
            runs.setdefault(image, []).append((int(index), row["EncodedPixels"]))
            digest.update(f"{image}:{index}:{row['EncodedPixels']}\n".encode())
    drawn = RunDrawings({name: tuple(each) for name, each in runs.items()}, digest.hexdigest())
    blank = len(images) - len(runs)
    notes = (f"{blank} images without a run count as background.",) if blank else ()
    return Listing(
        tree.root / "train_images",
        list(images.values()),
        masked=True,
        rule=MaskRule(drawn=drawn),
        notes=notes,
        read_too=(_SEVERSTAL,),
    )


LAYOUTS = (
    Layout(
        name="visa",
        kind="segmentation",
        rank=Rank.PUBLISHED,
        looks="split_csv/1cls.csv\ncandle/Data/Images/Anomaly/000.JPG\n"
        "candle/Data/Masks/Anomaly/000.png",
        assumed="The test images of 1cls.csv, or all of image_anno.csv where DATA is one object;"
        " each value above 0 is the defect, a normal image shows background.",
        fits=lambda tree: _visa_table(tree) is not None,
        read=_visa,
        source="VisA, https://github.com/amazon-science/spot-diff",
    ),
    Layout(
        name="severstal",
        kind="segmentation",
        rank=Rank.PUBLISHED,
        looks="train.csv\ntrain_images/0002cc93b.jpg",
        assumed="Classes 1 to 4 as runs in EncodedPixels, 0 elsewhere; an image without a run shows"
        " background.",
        fits=lambda tree: (
            tree.has("train_images") and "EncodedPixels" in _first_line(tree.root / _SEVERSTAL)
        ),
        read=_severstal,
        source="Severstal: Steel Defect Detection, https://www.kaggle.com/c/severstal-steel-defect-detection",
    ),
)
