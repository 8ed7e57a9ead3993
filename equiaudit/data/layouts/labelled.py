"""Published layouts of images with a class each, that a list or a file beside each image tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from equiaudit.data.classes import classes_of
from equiaudit.data.labels import has_columns
from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank, stem
from equiaudit.data.layouts.classes import by_table, labelled
from equiaudit.data.listing import printable
from equiaudit.data.places import Place, read_bytes, read_text
from equiaudit.data.table_columns import LABEL_COLUMNS, plain
from equiaudit.data.tables import read_table
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_ANNOTATIONS = ("val_annotations.txt", "val/val_annotations.txt")
_LIST = "val.txt"
_WNIDS = "wnids.txt"
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_OF_SAMPLE = (".cls", ".json")
"""Endings of what says a class, the first before the second."""
_MOST_CLS, _MOST_JSON = 64, 1 << 20
"""Bytes of such a file."""


def _annotations(tree: Tree) -> Place | None:
    return _first(tree, _ANNOTATIONS)


def _first(tree: Tree, names: Sequence[str]) -> Place | None:
    """The first of these files that is there."""
    return next((tree.root / name for name in names if (tree.root / name).is_file()), None)


def _tiny(tree: Tree, asked: Asked) -> Listing:
    table = _annotations(tree)
    if table is None:
        raise InputError(f"There is no val_annotations.txt in {tree.root}.")
    folder = table.parent
    images = tree.under("val") if folder != tree.root else tree.images
    wnids = _wnids(table)
    return by_table(folder, images, table, asked, (0, 1), whole=wnids)


def _wnids(table: Place) -> tuple[str, ...]:
    """The classes as wnids.txt has them, beside the images or one folder up."""
    above = table.parent.parent if table.parent.name == "val" else table.parent
    for folder in (table.parent, above):
        if (folder / _WNIDS).is_file():
            return tuple(read_text(folder / _WNIDS).split())
    return ()


def _is_listed(tree: Tree) -> bool:
    """Whether val.txt pairs files with labels, and images lie in one folder, not by class."""
    if not (tree.root / _LIST).is_file():
        return False
    folders = {image.name.rpartition("/")[0] for image in tree.images}
    first = next(iter(read_text(tree.root / _LIST).splitlines()), "").split()
    return len(folders) == 1 and len(first) == 2 and first[1].isdigit()


def _listed(tree: Tree, asked: Asked) -> Listing:
    listing = by_table(tree.root, tree.images, tree.root / _LIST, asked, (0, 1))
    return replace(listing, read_too=(_LIST,))


def _metadata(tree: Tree) -> Place | None:
    """The table of a Hugging Face folder, where it says classes."""
    found = _first(tree, _METADATA)
    if found is None or not tree.images:
        return None
    return found if has_columns(read_table(found)) else None


def _hugging_face(tree: Tree, asked: Asked) -> Listing:
    table = _metadata(tree)
    if table is None:
        raise InputError(
            f"There is no metadata.csv, .jsonl or .parquet with file_name and label in {tree.root}."
        )
    return replace(by_table(tree.root, tree.images, table, asked), read_too=(table.name,))


def _has_cls(tree: Tree) -> bool:
    """Whether files of classes lie beside images; those of .json alone where they name one."""
    if len(tree.files) == len(tree.images):
        return False
    if any(file.relative.endswith(".cls") for file in tree.files):
        return True
    beside = {f"{stem(image.relative)}.json" for image in tree.images[:1]}
    found = next((file for file in tree.files if file.relative in beside), None)
    return found is not None and _of_json(found.path) is not None


def _webdataset(tree: Tree, asked: Asked) -> Listing:
    """Samples 0.jpg + 0.cls or 0.json, as they lie in tar shards."""
    beside = {file.name: file.path for file in tree.files if file.relative.endswith(_OF_SAMPLE)}
    told, kinds = [], set()
    for image in tree.images:
        names = (stem(image.name) + ending for ending in _OF_SAMPLE)
        found = next((name for name in names if name in beside), None)
        label = None if found is None else _class(beside[found])
        if found is None or label is None:
            raise InputError(
                f"{image.path} has no class: there is no {stem(image.name)}.cls, and no"
                f" {stem(image.name)}.json with label, class or the like.",
                tip="Each image of a webdataset has one of them beside it.",
            )
        told.append(label)
        kinds.add(found[found.rindex(".") :])
    source = f"{' and '.join(sorted(kinds))} files"
    classes = classes_of(told, asked.known, source=source, order=asked.order, table=True)
    said = (f"{len(told)} images labelled by the {' or '.join(sorted(kinds))} file of each.",)
    listing = labelled(tree.root, tree.images, told, classes, source, said)
    return replace(listing, read_too=tuple(beside))


def _class(place: Place) -> str | None:
    """What a .cls or .json file names; None of a .json file without a class."""
    if place.name.endswith(".json"):
        return _of_json(place)
    text = read_bytes(place, _MOST_CLS).decode("utf-8", "replace").strip()
    if not text:
        raise InputError(f"{place} is empty, and names no class.")
    return printable(text)


def _of_json(place: Place) -> str | None:
    """The value of the first key that labels are called by, of a JSON object."""
    try:
        found = json.loads(read_bytes(place, _MOST_JSON))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    keys = {plain(key): value for key, value in found.items()}
    value = next((keys[name] for name in LABEL_COLUMNS if name in keys), None)
    whole = isinstance(value, str | int) and not isinstance(value, bool)
    return printable(str(value).strip()) or None if whole else None


LAYOUTS = (
    Layout(
        name="imagenet-list",
        kind="classification",
        rank=Rank.PUBLISHED,
        looks="val.txt    (ILSVRC2012_val_00000001.JPEG 65)\nILSVRC2012_val_00000001.JPEG",
        assumed="Class indices as val.txt has them; images in one folder, beside it or below.",
        fits=_is_listed,
        read=_listed,
    ),
    Layout(
        name="tiny-imagenet",
        kind="classification",
        rank=Rank.PUBLISHED,
        looks="val/val_annotations.txt    (val_0.JPEG  n03444034  0  32  44  62)\n"
        "val/images/val_0.JPEG",
        assumed="The second column names the class; classes count in the order of their wnids, or"
        " as wnids.txt has them where that lies beside val/: the model tells.",
        fits=lambda tree: _annotations(tree) is not None,
        read=_tiny,
    ),
    Layout(
        name="hugging-face",
        kind="classification",
        rank=Rank.PUBLISHED,
        looks="metadata.csv    (file_name,label)\nany/1.jpg",
        assumed="metadata.csv, .jsonl or .parquet beside or above the images says the classes.",
        fits=lambda tree: _metadata(tree) is not None,
        read=_hugging_face,
    ),
    Layout(
        name="webdataset",
        kind="classification",
        rank=Rank.PUBLISHED,
        looks="shard-000.tar/0001.jpg\nshard-000.tar/0001.cls     (or 0001.json)",
        assumed="The .cls file of a sample names its class, else label, class or the like in its"
        " .json file; in tar shards, also .tar.gz, or a folder.",
        fits=_has_cls,
        read=_webdataset,
    ),
)
