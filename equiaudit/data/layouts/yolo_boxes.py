"""YOLO: a data.yaml, and a text file of boxes per image in labels/ beside images/."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import Any

import numpy as np

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, stem
from equiaudit.data.layouts.splits import chosen_split, split_of
from equiaudit.data.listing import ImageFile
from equiaudit.data.objects import Objects, marked
from equiaudit.data.places import read_text
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_IMAGES, _LABELS = "images", "labels"
_MOST = 1 << 20


def _file(tree: Tree) -> str | None:
    return next((name for name in _YAML if (tree.root / name).is_file()), None)


def _fits(tree: Tree) -> bool:
    return _file(tree) is not None and any(
        _LABELS in file.name.split("/")[:-1] and file.name.endswith(".txt") for file in tree.files
    )


def _read(tree: Tree, asked: Asked) -> Listing:
    name = _file(tree)
    if name is None:
        raise InputError(f"{tree.root} has none of {', '.join(_YAML)}.")
    table = _loaded(tree, name)
    names = _names(tree, name, table.get("names"))
    placed = [(image, _label_file(image)) for image in tree.images]
    inside = [(image, label) for image, label in placed if label is not None]
    if not inside:
        raise InputError(f"{tree.root} has no image in a folder {_IMAGES}/.")
    splits = {split_of(image.name) for image, _ in inside}
    kept, notes = chosen_split(
        inside, lambda each: split_of(each[0].name), splits, ("val", "test"), asked.split, tree.root
    )
    files = {file.name: file for file in tree.files}
    pose = table.get("kpt_shape") is not None
    of, bare = {}, 0
    for image, label in kept:
        file = files.get(label)
        bare += file is None
        rows = [] if file is None else _rows(file, names, pose)
        of[image.name] = marked(rows)
    said = f"Boxes are shares of the image, in {_LABELS}/ beside {_IMAGES}/; classes are those of"
    notes = (*notes, f"{said} {name}.")
    if bare:
        notes += (f"Images without a text file hold no object, as published: {bare}.",)
    return Listing(
        tree.root,
        sorted((image for image, _ in kept), key=lambda image: os.fsencode(image.relative)),
        objects=Objects(of, names, shares=True, ids=True, labels=True),
        notes=notes,
        read_too=(name,),
    )


def _label_file(image: ImageFile) -> str | None:
    """Where its boxes are: the last folder images/ becomes labels/. None outside of such."""
    parts = posixpath.dirname(image.name).split("/")
    if _IMAGES not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index(_IMAGES)
    parts[last] = _LABELS
    return f"{'/'.join(parts)}/{posixpath.basename(stem(image.name))}.txt"


def _loaded(tree: Tree, name: str) -> Mapping[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            f"{tree.root / name} is YAML, which needs PyYAML.",
            tip="pip install 'equiaudit[detection]', or --layout images.",
        ) from None
    try:
        text = read_text(tree.root / name)
        if len(text) > _MOST:
            raise ValueError("it is larger than 1 MiB")
        found = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{tree.root / name} cannot be read: {str(error)[:200]}.") from None
    if not isinstance(found, Mapping):
        raise InputError(f"{tree.root / name} holds no table.")
    return found


def _names(tree: Tree, name: str, given: Any) -> dict[int, str]:
    """Of a list, or a table by index."""
    if isinstance(given, list) and given:
        return {i: str(each) for i, each in enumerate(given)}
    if isinstance(given, Mapping) and given and all(isinstance(i, int) for i in given):
        return {int(i): str(each) for i, each in given.items()}
    raise InputError(f"{tree.root / name} has no names, as a list or by index.")


def _rows(file: ImageFile, names: Mapping[int, str], pose: bool) -> list[list[float]]:
    """Boxes; of outlines what they lie in. With `pose`, points follow the box."""
    rows: list[list[float]] = []
    try:
        lines = read_text(file.path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file.path} cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"Line {number} of {file.path}"
        try:
            label, *numbers = (float(part) for part in line.split())
        except ValueError:
            raise InputError(f"{where} is not numbers: {line[:80]!r}.") from None
        if label not in names:
            raise InputError(
                f"{where} is of class {label:g}, and the YAML names {min(names)} to {max(names)}."
            )
        box = _box(numbers, pose)
        if box is None or not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise InputError(
                f"{where} holds no box: {line[:80]!r}.",
                tip="A line is: class x y width height, or class and the points of an outline.",
            )
        rows.append([*box, label, 0.0])
    return rows


def _box(numbers: list[float], pose: bool) -> list[float] | None:
    if len(numbers) == 4 or (pose and len(numbers) > 4):
        x, y, width, height = numbers[:4]
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


LAYOUTS = (
    Layout(
        name="yolo",
        kind="detection",
        rank=Rank.PUBLISHED,
        looks="data.yaml\nimages/val/1.jpg\nlabels/val/1.txt",
        assumed="A line per object: class x y width height as shares of the image, or the points"
        " of an outline; an image without a text file holds none. Numbers of classes are the"
        " model's labels.",
        fits=_fits,
        read=_read,
        source="https://docs.ultralytics.com/datasets/detect/",
    ),
)
