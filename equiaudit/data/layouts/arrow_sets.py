"""The classes of an image as a list in one column of the `datasets` library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from equiaudit.data.arrow import Column
from equiaudit.data.classes import named_classes
from equiaudit.data.items import NO_LABEL
from equiaudit.data.layouts.arrow import (
    NAMES_TIP,
    cells_of,
    column_of,
    label_column,
    of_class_label,
    of_split,
    others,
    rows_of,
)
from equiaudit.data.layouts.base import Asked, Listing
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

Sets = dict[str, frozenset[int]]


def sets_in(tree: Tree, asked: Asked) -> tuple[Listing, Sets] | None:
    """The images of shards and the classes of each, by name; None where `tree` holds no shards.

    A cell lists names of the model's classes or indices, or has a 0 or 1 for each class. Without
    such a column, that of one class each is taken. InputError where a list has two readings.
    """
    rows = rows_of(tree)
    if rows is None:
        return None
    images, notes = of_split(tree, asked)
    lists = [column for column in rows.columns if column.several]
    column = column_of(rows, asked, lists) or label_column(rows, asked)
    listing = Listing(tree.root, images, class_names=dict(enumerate(asked.known.names or ())))
    if column is None:
        said = f"No column beside the images holds classes: {others(rows)}."
        return replace(listing, notes=(*notes, said)), {}
    cells = cells_of(rows, column, images)
    each = "" if column.several else ", one class each"
    if not column.several:
        cells = [None if cell is None or cell == -1 else [cell] for cell in cells]
    told = {i.name: cell for i, cell in zip(images, cells, strict=True) if cell is not None}
    sets, how = _read(column, told, asked, f"rows of {tree.root.name}")
    empty = sum(not own for own in sets.values())
    none = f", {empty} of them without any class" if empty else ""
    said = (
        f"{len(sets)} of {len(images)} images labelled{none}, from column {column.name}"
        f" ({how}{each})."
    )
    labels = np.array([0 if i.name in sets else NO_LABEL for i in images], np.int32)
    return replace(listing, labels=labels, notes=(*notes, said)), sets


def _read(
    column: Column, told: dict[str, list[Any]], asked: Asked, source: str
) -> tuple[Sets, str]:
    """The sets, and in words how cells were read."""
    labels = {str(value) for cell in told.values() for value in cell}
    if column.classes:
        classes = of_class_label(column, labels, asked, source)
        return _sets(told, classes.index), classes.notes[-1].rstrip(".").lower()
    count, named = asked.known.count or 0, named_classes(sorted(labels), asked.known)
    if named is not None:
        return _sets(told, named.index), "by names"
    index = {str(i): i for i in range(count)}
    marks = all(len(cell) == count and set(cell) <= {0, 1} for cell in told.values())
    repeated = any(len(set(cell)) < len(cell) for cell in told.values())
    if marks and count and not repeated:
        raise InputError(
            f"The lists in {column.name} of the {source} may be class indices, or hold a 0 or 1 per"
            " class.",
            tip="Save the column as a list of ClassLabel, or give --labels FILE.csv.",
        )
    if marks and count:
        found = {name: frozenset(np.flatnonzero(cell).tolist()) for name, cell in told.items()}
        return found, "a 0 or 1 per class, in the order of the model's outputs"
    for name, cell in told.items():
        bad = next((str(value) for value in cell if str(value) not in index), None)
        if bad is not None:
            raise InputError(
                f"The {source} have {bad!r} in {column.name}, as that of {name}, which is neither"
                f" the name nor the index of one of the model's {count} classes.",
                tip=NAMES_TIP,
            )
    return _sets(told, index), "class indices"


def _sets(told: dict[str, list[Any]], index: Mapping[str, int]) -> Sets:
    return {name: frozenset(index[str(v)] for v in cell) for name, cell in told.items()}
