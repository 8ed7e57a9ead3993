"""Pascal VOC: an XML file of boxes per image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, stem
from equiaudit.data.listing import ImageFile
from equiaudit.data.objects import Marked, Objects
from equiaudit.data.places import Place, read_bytes
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_FOLDERS = ("Annotations", "annotations", "xmls")
_IMAGES = ("JPEGImages", "images")
_MOST = 1 << 24
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _folder(tree: Tree) -> str | None:
    """The folder that holds XML files."""
    for name in _FOLDERS:
        start = f"{name}/"
        if any(f.name.startswith(start) and f.name.lower().endswith(".xml") for f in tree.files):
            return name
    return None


def _read(tree: Tree, asked: Asked) -> Listing:
    folder = _folder(tree)
    if folder is None:
        raise InputError(f"{tree.root} has no folder {' or '.join(_FOLDERS)} of XML files.")
    base = next((f"{name}/" for name in _IMAGES if tree.has(name)), "")
    images = {
        stem(image.below(base).name): image for image in tree.images if image.name.startswith(base)
    }
    kept, rows, sizes, names = [], [], [], {}
    files = [f for f in tree.files if f.name.startswith(f"{folder}/")]
    for file in (f for f in files if f.name.lower().endswith(".xml")):
        key = stem(file.below(f"{folder}/").name)
        if key not in images:
            raise InputError(
                f"{tree.root} has {file.name}, and no image {base}{key} with any ending.",
                tip="--layout images takes the images alone.",
            )
        own, size = _boxes_of(file)
        kept.append(images[key])
        rows.append(own)
        sizes.append(size)
        names.update(dict.fromkeys(name for name, _ in own))
    order = {name: place for place, name in enumerate(sorted(names))}
    first, said = _first(rows)
    of = {
        image.name: Marked(_rows(own, order, first), size)
        for image, own, size in zip(kept, rows, sizes, strict=True)
    }
    taken = set(of)
    bare = [image.name for image in images.values() if image.name not in taken]
    notes = [f"Boxes are those of {len(rows)} files in {folder}/; {said}."]
    if bare:
        notes.append(f"Images without an XML file, left out: {len(bare)} ({bare[0]}).")
    return Listing(
        tree.root,
        sorted(kept, key=lambda image: os.fsencode(image.relative)),
        objects=Objects(of, {place: name for name, place in order.items()}),
        notes=tuple(notes),
        read_too=tuple(f.name for f in files),
    )


Box = tuple[str, tuple[float, float, float, float, float]]


def _boxes_of(file: ImageFile) -> tuple[list[Box], tuple[int, int] | None]:
    """(name, (xmin, ymin, xmax, ymax, difficult)) of each object; (H, W) where it is stated."""
    path: Place = file.path
    try:
        content = read_bytes(path, _MOST)
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError("it declares entities")
        root = ElementTree.fromstring(content)
        found = [_object(each) for each in root.iter("object")]
        stated = [root.findtext(f"size/{side}") for side in ("height", "width")]
        height, width = (int(float(text)) if text else 0 for text in stated)
    except (OSError, ValueError, TypeError, ElementTree.ParseError) as error:
        raise InputError(f"{path} is no Pascal VOC annotation: {error}.") from None
    for name, (x1, y1, x2, y2, _) in found:
        if not np.isfinite([x1, y1, x2, y2]).all() or x2 < x1 or y2 < y1:
            raise InputError(f"{path} has a {name} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}).")
    return found, (height, width) if height and width else None


def _object(each: ElementTree.Element) -> Box:
    name = (each.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    box = each.find("bndbox")
    if box is None:
        raise ValueError(f"a {name} has no bndbox")
    x1, y1, x2, y2 = (float(box.findtext(side) or "nan") for side in _SIDES)
    difficult = float((each.findtext("difficult") or "0").strip() == "1")
    return name, (x1, y1, x2, y2, difficult)


def _first(rows: list[list[Box]]) -> tuple[int, str]:
    """What pixels are counted from: 1, as published, unless a box begins before that."""
    if any(min(box[:2]) < 1 for own in rows for _, box in own):
        return 0, "some begin before 1, so pixels are counted from 0 and x2 is xmax"
    return 1, "pixels are counted from 1, as published: x1 is xmin - 1, and x2 is xmax"


def _rows(own: list[Box], order: Mapping[str, int], first: int) -> np.ndarray:
    rows = [[x1 - first, y1 - first, x2, y2, order[n], odd] for n, (x1, y1, x2, y2, odd) in own]
    return np.array(rows, np.float64).reshape(-1, 6)


LAYOUTS = (
    Layout(
        name="voc",
        kind="detection",
        rank=Rank.PUBLISHED,
        looks="Annotations/2007_000027.xml\nJPEGImages/2007_000027.jpg",
        assumed="An XML file per image, also in annotations/ beside images/; boxes count pixels"
        " from 1 unless one begins at 0; difficult objects are neither found nor missed. Names are"
        " the model's classes.",
        fits=lambda tree: _folder(tree) is not None,
        read=_read,
        source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf",
    ),
)
