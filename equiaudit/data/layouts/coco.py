"""COCO's JSON: polygons and runs of objects, and panoptic segments."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.runs import counts_of_text, filled_counts
from equiaudit.data.layouts.splits import chosen_split
from equiaudit.data.listing import ImageFile
from equiaudit.data.places import Place, read_bytes
from equiaudit.data.rules import MaskRule
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_MOST = 1 << 30
_START = 1 << 14
_SHAPE = "segmentation"
"""Of an object: its polygons or runs."""
_FEW = 8
"""JSON files that are looked into."""
_PARTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class PolygonDrawings:
    """Objects drawn one over another, the largest first."""

    objects: Mapping[str, tuple[tuple[int, Any], ...]] = field(repr=False)
    """Name of an image -> (class id, segmentation)."""
    sizes: Mapping[str, tuple[int, int]] = field(repr=False)
    """(H, W) that the JSON states."""
    sha256: str

    def draw(self, name: str, size: tuple[int, int]) -> NDArray[np.int32]:
        """(H, W) class ids, 0 where no object is."""
        if self.sizes.get(name, size) != size:
            stated = self.sizes[name]
            raise InputError(
                f"The JSON has {name} as {stated[0]}x{stated[1]} px (height x width), and it is"
                f" {size[0]}x{size[1]}.",
            )
        ids = np.zeros(size, np.int32)
        shapes = [(index, _filled(shape, size)) for index, shape in self.objects.get(name, ())]
        for index, shape in sorted(shapes, key=lambda each: -int(each[1].sum())):
            ids[shape] = index
        return ids


def _filled(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of polygons or runs; ValueError for anything else."""
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        return filled_counts(
            counts_of_text(counts) if isinstance(counts, str) else counts or (), size
        )
    from PIL import Image, ImageDraw

    canvas = Image.new("1", size[::-1])
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon has fewer than three points")
        ImageDraw.Draw(canvas).polygon([float(number) for number in polygon], fill=1)
    return np.asarray(canvas)


@dataclass(frozen=True)
class PanopticDrawings:
    """Segments of PNG files, whose colours are ids: red + 256 green + 65536 blue."""

    files: Mapping[str, Place] = field(repr=False)
    segments: Mapping[str, Mapping[int, int]] = field(repr=False)
    """Name of an image -> segment id -> class id."""
    sha256: str

    def draw(self, name: str, size: tuple[int, int]) -> NDArray[np.int32]:
        """(H, W) class ids, -1 where there is no segment."""
        from equiaudit.data.decoding import open_image, read_content

        image = open_image(read_content(self.files[name]))
        if image.size[::-1] != size:
            raise InputError(f"{self.files[name]} is not of the size of its image {name}.")
        colours = np.asarray(image.convert("RGB")).astype(np.int32)
        ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        known = {**self.segments[name], 0: -1}
        present, place = np.unique(ids, return_inverse=True)
        if unknown := [i for i in present.tolist() if i not in known]:
            raise InputError(
                f"{self.files[name]} holds segment {unknown[0]}, which the JSON lacks."
            )
        classes = np.array([known[i] for i in present.tolist()], np.int32)
        return classes[place].reshape(size)


def _tables(tree: Tree, panoptic: bool) -> list[str]:
    """The JSON files that are COCO's, of objects or of panoptic segments."""
    names = [file.name for file in tree.files if file.name.lower().endswith(".json")]
    last = {name: name.rpartition("/")[2].lower() for name in names}
    named = [n for n in names if last[n].startswith("panoptic" if panoptic else "instances")]
    if named or panoptic:
        return named
    other = [n for n in names if not last[n].startswith(("panoptic", "captions", "person_"))]
    return [n for n in other if is_coco(tree.root / n)] if len(other) <= _FEW else []


def is_coco(path: Place) -> bool:
    """By its beginning; a table for each image, as LabelMe writes them, begins otherwise."""
    try:
        start = read_bytes(path, _START)
    except OSError:
        return False
    return any(word in start for word in (b'"images"', b'"categories"', b'"annotations"'))


def loaded(path: Place) -> dict[str, Any]:
    """What a JSON file holds; InputError where that is no object."""
    try:
        found = json.loads(read_bytes(path, _MOST))
        if not all(isinstance(found[part], list) for part in _PARTS):
            raise TypeError("images, annotations or categories is no list")
        return dict(found)
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not COCO's JSON: {error}.") from None


def split_named(name: str) -> str:
    """train, val or test, as a file is called; empty where it is not."""
    found = re.search("train|val|test", name.rpartition("/")[2].lower())
    return found[0] if found else ""


def _table(tree: Tree, panoptic: bool, asked: Asked) -> tuple[str, tuple[str, ...]]:
    """The one JSON file that is meant."""
    tables = _tables(tree, panoptic)
    kept, notes = chosen_split(
        tables,
        split_named,
        {split_named(name) for name in tables},
        ("val", "test"),
        asked.split,
        tree.root,
    )
    if len(kept) != 1:
        raise InputError(
            f"{tree.root} holds {', '.join(kept[:2]) or 'no JSON of COCO'}"
            f"{', of which one is needed' if kept else ''}.",
            tip="Move the others away.",
        )
    return kept[0], notes


def _read(tree: Tree, asked: Asked, panoptic: bool) -> Listing:
    name, notes = _table(tree, panoptic, asked)
    path = tree.root / name
    table = loaded(path)
    try:
        classes, said = _classes(path, table["categories"], panoptic, asked)
        images = images_named(tree, path, table["images"])
        drawn = (_panoptic if panoptic else _objects)(tree, name, table, images, classes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not COCO's JSON: {error!r}.") from None
    files = sorted(images.values(), key=lambda file: os.fsencode(file.relative))
    return Listing(
        tree.root,
        files,
        masked=True,
        rule=MaskRule(drawn=drawn),
        notes=(*notes, f"Masks are drawn from {name}; {said}.", *left_out(tree, files, panoptic)),
        read_too=(name,),
    )


def left_out(tree: Tree, files: Sequence[ImageFile], panoptic: bool) -> tuple[str, ...]:
    """What is to be said of images that the annotations do not name."""
    kept = {file.name for file in files}
    rest = [i.name for i in tree.images if i.name not in kept and not i.name.startswith("annot")]
    return (f"Images that it does not name, left out: {len(rest)} ({rest[0]}).",) if rest else ()


def _classes(
    path: Place, categories: Sequence[Any], panoptic: bool, asked: Asked
) -> tuple[dict[int, int], str]:
    """Category id -> class id."""
    names = {int(each["id"]): str(each.get("name", each["id"])) for each in categories}
    order, count = sorted(names), asked.known.count
    given = {name: index for index, name in asked.table.names.items()}
    if given:
        if lacking := [name for name in names.values() if name not in given]:
            raise InputError(f"{path} has the category {lacking[0]!r}, which --classes lacks.")
        return {i: given[names[i]] for i in order}, "classes are those of --classes"
    first = 0 if panoptic else 1
    if count is None or count == len(order) + first:
        return {i: k + first for k, i in enumerate(order)}, (
            f"its {len(order)} categories are classes {first} to {len(order) - 1 + first}"
        )
    if count == order[-1] + 1:
        return {i: i for i in order}, "the ids of categories are the classes"
    raise InputError(
        f"{path} has {len(order)} categories with ids up to {order[-1]}, and the model {count}"
        " classes, so which is which cannot be told.",
        tip="Give --classes FILE.csv (columns name,index) with the categories' names.",
    )


def images_named(tree: Tree, path: Place, images: Sequence[Any]) -> dict[int, ImageFile]:
    """Image id -> its file, by its whole name or by its last part."""
    whole = {file.name: file for file in tree.images}
    last: dict[str, list[ImageFile]] = {}
    for file in tree.images:
        last.setdefault(file.name.rpartition("/")[2], []).append(file)
    found = {}
    for each in images:
        name = str(each["file_name"])
        near = [whole[name]] if name in whole else last.get(name.rpartition("/")[2], [])
        if len(near) != 1:
            what = "is not there" if not near else f"may be {near[0].name} or {near[1].name}"
            raise InputError(f"{path} names the image {name}, which {what}.")
        found[int(each["id"])] = near[0]
    return found


def _objects(
    tree: Tree,
    name: str,
    table: Mapping[str, Any],
    images: Mapping[int, ImageFile],
    classes: Mapping[int, int],
) -> PolygonDrawings:
    objects: dict[str, list[tuple[int, Any]]] = {}
    for each in table["annotations"]:
        image = images[int(each["image_id"])].name
        objects.setdefault(image, []).append((classes[int(each["category_id"])], each[_SHAPE]))
    sizes = {
        images[int(each["id"])].name: (int(each["height"]), int(each["width"]))
        for each in table["images"]
        if "height" in each and "width" in each
    }
    return PolygonDrawings({n: tuple(v) for n, v in objects.items()}, sizes, _digest(table))


def _panoptic(
    tree: Tree,
    name: str,
    table: Mapping[str, Any],
    images: Mapping[int, ImageFile],
    classes: Mapping[int, int],
) -> PanopticDrawings:
    files = {file.name: file.path for file in tree.images}
    base = name.rpartition(".")[0]
    masks, segments = {}, {}
    for each in table["annotations"]:
        image = images[int(each["image_id"])].name
        mask = f"{base}/{each['file_name']}"
        if mask not in files:
            raise InputError(f"{name} names the mask {mask}, which is not there.")
        masks[image] = files[mask]
        segments[image] = {
            int(s["id"]): classes[int(s["category_id"])] for s in each["segments_info"]
        }
    if lacking := [file.name for file in images.values() if file.name not in masks]:
        raise InputError(f"{name} has no segments of the image {lacking[0]}.")
    return PanopticDrawings(masks, segments, _digest(table))


def _digest(table: Mapping[str, Any]) -> str:
    told = json.dumps([table[part] for part in _PARTS], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


LAYOUTS = (
    Layout(
        name="coco",
        kind="segmentation",
        rank=Rank.PUBLISHED,
        looks="annotations/instances_val2017.json\nval2017/000000000139.jpg",
        assumed="Polygons (filled by Pillow) and runs, small objects over large ones, 0 elsewhere."
        " Categories in the order of their ids are classes 1, 2, ..., or their ids are, as the"
        " model's number of classes says; --classes settles it by name.",
        fits=lambda tree: bool(_tables(tree, panoptic=False)),
        read=lambda tree, asked: _read(tree, asked, panoptic=False),
        source="https://cocodataset.org/#format-data",
    ),
    Layout(
        name="coco-panoptic",
        kind="segmentation",
        rank=Rank.PUBLISHED,
        looks="annotations/panoptic_val2017.json\nannotations/panoptic_val2017/000000000139.png\n"
        "val2017/000000000139.jpg",
        assumed="Categories in the order of their ids are classes 0, 1, ...; --classes settles it"
        " by name. Pixels of no segment are left out.",
        fits=lambda tree: bool(_tables(tree, panoptic=True)),
        read=lambda tree, asked: _read(tree, asked, panoptic=True),
        source="https://cocodataset.org/#format-data",
    ),
)
