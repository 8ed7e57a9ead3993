"""Data sets of the `datasets` library: arrow and parquet shards with an image a row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from equiaudit.data.arrow import ArrowRows, Column
from equiaudit.data.classes import Classes, classes_of, named_classes, spelling
from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.classes import labelled
from equiaudit.data.layouts.splits import chosen_split, split_of
from equiaudit.data.listing import ImageFile
from equiaudit.data.remote import RemotePath
from equiaudit.data.table_columns import LABEL_COLUMNS, plain
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

_SIMPLE = re.compile(r"(?:large_)?string|u?int\d+")
_PREFERRED = ("test", "val", "train")
NAMES_TIP = "--class-names FILE says which classes the model has, in their order."


def rows_of(tree: Tree) -> ArrowRows | None:
    """The shards that are the folder, where they are."""
    store = tree.root.store if isinstance(tree.root, RemotePath) else None
    return store if isinstance(store, ArrowRows) else None


def _has_masks(tree: Tree) -> bool:
    rows = rows_of(tree)
    return rows is not None and rows.masks is not None


def _needed(tree: Tree) -> ArrowRows:
    rows = rows_of(tree)
    if rows is None:
        raise InputError(f"{tree.root} holds no arrow or parquet shards.")
    return rows


def of_split(tree: Tree, asked: Asked) -> tuple[list[ImageFile], tuple[str, ...]]:
    """The images of one split, as the names of shards and their folders say."""

    def split(image: ImageFile) -> str:
        return split_of(image.name)

    known = {split(image) for image in tree.images}
    return chosen_split(tree.images, split, known, _PREFERRED, asked.split, tree.root)


def _classified(tree: Tree, asked: Asked) -> Listing:
    rows = _needed(tree)
    images, notes = of_split(tree, asked)
    column = label_column(rows, asked)
    if column is None:
        notes += (f"No column beside the images holds a class each: {others(rows)}.",)
        if any(c.several and (c.classes or plain(c.name) in LABEL_COLUMNS) for c in rows.columns):
            notes += ("Several are read with --task multilabel.",)
        return Listing(tree.root, images, notes=notes)
    told = [_label(value) for value in cells_of(rows, column, images)]
    source = f"rows of {tree.root.name}"
    labels = {label for label in told if label is not None}
    classes = (
        of_class_label(column, labels, asked, source)
        if column.classes
        else classes_of(labels, asked.known, source=source, order=asked.order, table=True)
    )
    count = sum(label is not None for label in told)
    notes += (f"{count} of {len(images)} images labelled from column {column.name}.",)
    return labelled(tree.root, images, told, classes, source, notes)


def others(rows: ArrowRows) -> str:
    """Names of the columns that are not the images'."""
    return ", ".join(c.name for c in rows.columns if c != rows.images) or "none"


def cells_of(rows: ArrowRows, column: Column, images: Sequence[ImageFile]) -> list[Any]:
    """What `column` holds of each image."""
    values = rows.values(column)
    placed = (image.relative.rpartition("/") for image in images)
    return [values[stem][int(row.partition(".")[0])] for stem, _, row in placed]


def _label(value: object) -> str | None:
    """A missing label is none; `datasets` writes -1 where labels are held back."""
    return None if value is None or value == -1 else str(value)


def label_column(rows: ArrowRows, asked: Asked) -> Column | None:
    """The column of one class each; InputError where two may be it."""
    return column_of(rows, asked, [column for column in rows.columns if not column.several])


def column_of(rows: ArrowRows, asked: Asked, columns: Sequence[Column]) -> Column | None:
    """Of `columns` that of ClassLabel, else the one called as labels are."""
    classes = [column for column in columns if column.classes]
    if len(classes) > 1:
        fitting = [c for c in classes if len(c.classes) == asked.known.count]
        classes = fitting if len(fitting) == 1 else classes
    if len(classes) > 1:
        raise InputError(
            f"{rows.shown} has the classes of an image in {classes[0].name}"
            f" ({len(classes[0].classes)} classes) and in {classes[1].name}"
            f" ({len(classes[1].classes)}), and the model's"
            f" {asked.known.count or 'unknown number of'} do not tell which is meant.",
            tip="Save it with remove_columns of all but one.",
        )
    if classes:
        return classes[0]
    named = {plain(column.name): column for column in columns if _SIMPLE.fullmatch(column.kind)}
    return next((named[name] for name in LABEL_COLUMNS if name in named), None)


def of_class_label(column: Column, labels: set[str], asked: Asked, source: str) -> Classes:
    """By the names of the feature where the model knows them, else by its indices."""
    names, known = column.classes, asked.known
    bad = next((i for i in sorted(labels) if not i.isdecimal() or int(i) >= len(names)), None)
    if bad is not None:
        raise InputError(
            f"The {source} have the label {bad} in {column.name}, which names {len(names)} classes."
        )
    if asked.order is not None:
        raise InputError(
            f"The {source} state their classes, so --class-order is not needed.",
            tip="Leave it out.",
        )
    own = {label: names[int(label)] for label in labels}
    by_name = named_classes(sorted(set(own.values())), known)
    if by_name is not None:
        index = {label: by_name.index[name] for label, name in own.items()}
        said = (f"Classes are matched with the model's by the names of {column.name}.",)
        return Classes(index, by_name.names, (*by_name.notes, *said))
    _refuse_other_classes(column, asked, source)
    shown = dict(enumerate(known.names or names))
    said = (f"Class indices are those of {column.name}, of as many classes as the model has.",)
    return Classes({label: int(label) for label in labels}, shown, said)


def _refuse_other_classes(column: Column, asked: Asked, source: str) -> None:
    """InputError where the indices of the feature cannot be those of the model."""
    names, known = column.classes, asked.known
    if known.count is not None and known.count != len(names):
        raise InputError(
            f"{column.name} in the {source} has {len(names)} classes ({names[0]!r}, ...), the model"
            f" has {known.count}, and which is which cannot be told.",
            tip=NAMES_TIP,
        )
    moved = _moved(names, known.names or ())
    if moved is not None:
        raise InputError(
            f"Class {moved[0]} is {names[moved[0]]!r} in {column.name} of the {source}, and that is"
            f" class {moved[1]} of the model; other names of the data are none of the model's.",
            tip=NAMES_TIP,
        )


def _moved(names: Sequence[str], of_model: Sequence[str]) -> tuple[int, int] | None:
    """The first name that the model has at another place: there, and there."""
    places = {spelling(name): i for i, name in enumerate(of_model)}
    for i, name in enumerate(names):
        if places.get(spelling(name), i) != i:
            return i, places[spelling(name)]
    return None


def _masked(tree: Tree, asked: Asked) -> Listing:
    rows = _needed(tree)
    images, notes = of_split(tree, asked)
    if rows.masks is None:
        raise InputError(f"{rows.shown} has no second column of images, which would be the masks.")
    of = {i.name: ImageFile(i.root, rows.mask_of(i.relative), i.size) for i in images}
    notes += (f"Masks are in column {rows.masks.name}.",)
    return Listing(tree.root, images, truth=of, masked=True, notes=notes)


LAYOUTS = tuple(
    Layout(
        name="datasets",
        kind=kind,
        rank=Rank.PUBLISHED,
        looks="data/test-00000-of-00001.parquet     (or state.json, data-00000-of-00001.arrow)",
        assumed=f"A row per image, its bytes in the column image, {column}; of several splits the"
        " test, validation or training images. Takes pyarrow.",
        fits=fits,
        read=read,
        source="datasets, https://huggingface.co/docs/datasets",
    )
    for kind, fits, read, column in (
        (
            "classification",
            lambda tree: rows_of(tree) is not None,
            _classified,
            "its class in one of ClassLabel or called as labels are",
        ),
        ("segmentation", _has_masks, _masked, "its mask in another of images"),
    )
)
