"""COCO's JSON: the boxes of objects, those of keypoints among them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.coco import (
    images_named,
    is_coco,
    left_out,
    loaded,
    split_named,
)
from equiaudit.data.layouts.runs import counts_of_text, filled_counts
from equiaudit.data.layouts.splits import chosen_split
from equiaudit.data.listing import ImageFile
from equiaudit.data.objects import Objects, marked
from equiaudit.data.places import Place
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_STARTS = ("instances", "person_keypoints")
_OTHER = ("panoptic", "captions", "image_info", *_STARTS)
_SHAPE = "segmentation"
"""Of an object: its polygons or runs."""
_FEW = 8
"""JSON files that are looked into."""


def _tables(tree: Tree) -> list[str]:
    """The JSON files with objects: those that are called so, else those that are COCO's."""
    names = [file.name for file in tree.files if file.name.lower().endswith(".json")]
    last = {name: name.rpartition("/")[2].lower() for name in names}
    for start in _STARTS:
        if named := [name for name in names if last[name].startswith(start)]:
            return named
    other = [name for name in names if not last[name].startswith(_OTHER)]
    return [n for n in other if is_coco(tree.root / n)] if len(other) <= _FEW else []


def _read(tree: Tree, asked: Asked) -> Listing:
    tables = _tables(tree)
    known = {split_named(name) for name in tables}
    kept, notes = chosen_split(tables, split_named, known, ("val", "test"), asked.split, tree.root)
    if len(kept) != 1:
        raise InputError(
            f"{tree.root} holds {', '.join(kept[:2]) or 'no JSON of COCO'}"
            f"{', of which one is needed' if kept else ''}.",
            tip="Move the others away.",
        )
    path = tree.root / kept[0]
    table = loaded(path)
    try:
        names = {int(each["id"]): str(each.get("name", each["id"])) for each in table["categories"]}
        images = images_named(tree, path, table["images"])
        rows, flat = _objects(path, table, images, names)
        sizes = {
            int(each["id"]): (int(each["height"]), int(each["width"]))
            for each in table["images"]
            if "height" in each and "width" in each
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not COCO's JSON: {error!r}.") from None
    of = {file.name: marked(rows[i], sizes.get(i)) for i, file in images.items()}
    files = sorted(images.values(), key=lambda file: os.fsencode(file.relative))
    said = [*notes, f"Boxes are those of {kept[0]}, {sum(map(len, rows.values())):,} of them."]
    if flat:
        said.append(f"Boxes of the JSON without an area, left out: {flat}.")
    return Listing(
        tree.root,
        files,
        objects=Objects(of, names, ids=True),
        notes=(*said, *left_out(tree, files, False)),
        read_too=(kept[0],),
    )


def _objects(
    path: Place, table: Mapping[str, Any], images: Mapping[int, ImageFile], names: Mapping[int, str]
) -> tuple[dict[int, list[list[float]]], int]:
    """Image id -> rows of `Marked`; and how many boxes have no area."""
    rows: dict[int, list[list[float]]] = {image: [] for image in images}
    flat = 0
    for place, each in enumerate(table["annotations"]):
        image, category = int(each["image_id"]), int(each["category_id"])
        what = f"{path} has the annotation {each.get('id', place)}"
        if image not in images:
            raise InputError(
                f"{what} of the image {image}, which its images lack.",
                tip="--layout images takes the images alone.",
            )
        if category not in names:
            raise InputError(
                f"{what} of the category {category}, which its categories lack.",
                tip="--layout images takes the images alone.",
            )
        box = _box(each)
        if not np.isfinite(box).all() or box[2] < box[0] or box[3] < box[1]:
            raise InputError(f"{what}, whose box is {json.dumps(each.get('bbox'))}.")
        if box[2] == box[0] or box[3] == box[1]:
            flat += 1
            continue
        rows[image].append([*box, category, float(bool(each.get("iscrowd", 0)))])
    return rows, flat


def _box(each: Mapping[str, Any]) -> list[float]:
    """x1, y1, x2, y2: of `bbox`, or else around polygons or runs."""
    if "bbox" in each:
        x, y, width, height = (float(number) for number in each["bbox"])
        return [x, y, x + width, y + height]
    shape = each[_SHAPE]
    if isinstance(shape, dict):
        counts, (height, width) = shape["counts"], shape["size"]
        counts = counts_of_text(counts) if isinstance(counts, str) else counts
        filled = np.argwhere(filled_counts(counts, (int(height), int(width))))
        low, high = (filled.min(0), filled.max(0) + 1) if len(filled) else ((0, 0), (0, 0))
        return [float(low[1]), float(low[0]), float(high[1]), float(high[0])]
    points = np.array([number for polygon in shape for number in polygon], np.float64)
    points = points.reshape(-1, 2)
    return [*points.min(0).tolist(), *points.max(0).tolist()]


LAYOUTS = (
    Layout(
        name="coco",
        kind="detection",
        rank=Rank.PUBLISHED,
        looks="annotations/instances_val2017.json\nval2017/000000000139.jpg",
        assumed="Boxes, or else what polygons and runs lie in; crowds are neither found nor missed."
        " Categories are the model's classes by name, or as --class-names says.",
        fits=lambda tree: bool(_tables(tree)),
        read=_read,
        source="https://cocodataset.org/#format-data",
    ),
)
