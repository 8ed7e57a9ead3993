"""Images with several labels each: the classes that a table says are there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from equiaudit.data.classes import Known, spelling
from equiaudit.data.dataset import Dataset, dataset_of
from equiaudit.data.items import NO_LABEL, Item
from equiaudit.data.labels import (
    Row,
    Rows,
    best_placed,
    leftovers,
    rows_of,
)
from equiaudit.data.layouts import Asked, Listing
from equiaudit.data.layouts.arrow import rows_of as rows_of_shards
from equiaudit.data.layouts.arrow_sets import sets_in
from equiaudit.data.layouts.beside import left_beside
from equiaudit.data.layouts.classes import listed
from equiaudit.data.places import Place, folder_of, let_go, place_of
from equiaudit.data.table_columns import FILE_COLUMNS, LABEL_COLUMNS, column_named, plain
from equiaudit.data.tables import Table, read_table
from equiaudit.data.tree import Tree
from equiaudit.data.truth import Frame, Truth
from equiaudit.errors import InputError

_SHOWN = 3
_YES, _NO = {"1", "1.0", "true", "True"}, {"0", "0.0", "false", "False"}
_TIP = (
    "Give a column of 0 and 1 per class, or a column label with the names or indices of an image's"
    " classes and | between them."
)
_NAMES_TIP = "--class-names FILE says which classes the model has, in their order."

Sets = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class SetReader:
    """Reads the classes of an image: (C,) int16, 1 of those that are there."""

    sets: Sets
    classes: int

    def read(self, item: Item, geometry: object, frame: Frame) -> Truth:
        """Of `item`, which has some, or none."""
        found = np.zeros(self.classes, np.int16)
        found[sorted(self.sets[item.file])] = 1
        return Truth(found, hashlib.sha256(found.tobytes()).hexdigest())

    def check(self, item: Item, frame: Frame) -> None:
        """Any size will do."""


def class_folders_in(data: str | Place) -> str:
    """The first names of class folders under `data`, "" where the images lie in none."""
    tree = Tree(folder_of(data))
    if rows_of_shards(tree) is not None:
        return ""
    _, images = listed(tree)
    tops = {image.name.partition("/")[0] for image in images if "/" in image.name}
    if len(tops) < 2:
        return ""
    return ", ".join(sorted(tops)[:_SHOWN]) + (", ..." if len(tops) > _SHOWN else "")


def open_label_sets(
    root: str | Place,
    *,
    labels: Place | None,
    class_names: Sequence[str],
    num_classes: int,
    limit: int | None,
    seed: int,
    split: str | None = None,
) -> Dataset:
    """List the images under `root`, at any depth, with the classes that `labels` says are there.

    Without it, those of arrow and parquet shards are in a column (`sets_in`), whose `split` is
    one of train, val and test.

    The table has a column of 0 and 1 for each class, or one with the classes of an image by name
    or index: with |, ; or , between them, with spaces, or as a JSON list; or one row per image and
    class. InputError where it can be read in two ways that differ, or names what is no class.
    """
    tree = Tree(folder_of(root))
    asked = Asked(known=Known(num_classes, class_names or None), split=split)
    of_rows = sets_in(tree, asked) if labels is None else None
    sets: Sets
    if split is not None and of_rows is None:
        raise InputError(
            f"{root} holds no shards of the `datasets` library, which alone have splits here.",
            tip="Leave --split out, and name the folder of one split as DATA.",
        )
    if of_rows is not None:
        layout, (listing, sets) = "datasets", of_rows
    elif labels is None:
        folder, images = listed(tree)
        names = dict(enumerate(class_names))
        layout, listing, sets = "flat", Listing(folder, images, class_names=names), {}
    else:
        layout = "labels-file"
        listing, sets = _of_table(tree, place_of(labels), class_names, num_classes)
    let_go(tree.root)
    found = dataset_of(layout, listing, limit, seed)
    if listing.labels is None:
        return found
    digest = hashlib.sha256(found.listing_sha256.encode())
    for item in found.items:
        digest.update(f"{item.file}:{sorted(sets[item.file])}\n".encode())
    return replace(
        found,
        items=replace(found.items, labels=None),
        truth=SetReader(sets, num_classes),
        labelled=True,
        listing_sha256=digest.hexdigest(),
    )


def _of_table(
    tree: Tree, table: Place, class_names: Sequence[str], num_classes: int
) -> tuple[Listing, Sets]:
    folder, images = listed(tree)
    names = {image.name: None for image in images}
    sets, notes = _Reading(table, class_names, num_classes).of_files(names, folder)
    kept = [0 if image.name in sets else NO_LABEL for image in images]
    listing = Listing(
        folder,
        images,
        labels=np.array(kept, np.int32),
        class_names=dict(enumerate(class_names)),
        notes=notes,
        read_too=tuple(file.name for file in tree.files if file.path == table),
    )
    return replace(listing, notes=notes + left_beside(tree, listing)), sets


@dataclass(frozen=True)
class _Reading:
    """A table, by what the model calls its classes."""

    path: Place
    names: Sequence[str]
    count: int

    def of_files(
        self, files: Collection[str], root: Place
    ) -> tuple[dict[str, frozenset[int]], tuple[str, ...]]:
        """The classes of each file that has a row, and how they were read."""
        table = read_table(self.path)
        columns = self._columns(table)
        if columns is not None:
            read, sets, how = self._of_columns(table, *columns)
        else:
            read = rows_of(table, self.path, files, None)
            sets, how = self._of_cells(read)
        rows = best_placed(
            [replace(row, label=str(place)) for place, row in enumerate(read.rows)],
            files,
            root,
            self.path,
        )
        found = self._by_file(rows, sets, files)
        if not found:
            first = f"; the first row names {read.rows[0].file!r}" if read.rows else ""
            raise InputError(
                f"None of the {len(rows)} files named in {self.path} is among the {len(files)}"
                f" images in {root}{first}.",
                tip="Its column `file` must be relative to the image folder.",
            )
        empty = sum(not own for own in found.values())
        if all(len(own) == 1 for own in found.values()):
            how += ", one class each, so that --task classification can take the likeliest"
        none = f", {empty} of them without any class" if empty else ""
        said = f"{len(found)} of {len(files)} images labelled{none}, from {how} of"
        return found, (
            f"{said} {self.path.name}.",
            *leftovers(rows, files, found, self.path.name),
        )

    def _by_file(
        self, rows: Sequence[Row], sets: Sequence[frozenset[int]], files: Collection[str]
    ) -> dict[str, frozenset[int]]:
        """Rows of one class each add up; two rows with sets that differ contradict."""
        found: dict[str, frozenset[int]] = {}
        single = all(len(own) == 1 for own in sets)
        for row in rows:
            if row.file not in files:
                continue
            own = sets[int(row.label)]
            first = found.setdefault(row.file, own)
            if single:
                found[row.file] = first | own
            elif first != own:
                raise InputError(
                    f"{self.path} has two rows for {row.file!r} that differ, the second in line"
                    f" {row.line}.",
                    tip="Give one row per image, or one class per row throughout.",
                )
        return found

    # A column per class

    def _columns(self, table: Table) -> tuple[Sequence[str], int, list[int]] | None:
        """Header, column of files and those of classes; None where there is a column of labels."""
        header = table.header
        if header is None:
            header = table.rows[0] if table.rows else ()
        names = [plain(name) for name in header]
        file = column_named(names, FILE_COLUMNS)
        if file is None or len(names) < 3:
            return None
        label = column_named(names, LABEL_COLUMNS, without=file)
        others = [i for i in range(len(header)) if i != file]
        if label is not None and not all(spelling(header[i]) in self._by_name() for i in others):
            self._refuse_marks(table, header, label, others)
            return None
        return header, file, others

    def _refuse_marks(
        self, table: Table, header: Sequence[str], label: int, others: Sequence[int]
    ) -> None:
        """A column called as labels are, beside others of 0 and 1: it may be one of the classes."""
        rows = table.rows if table.header is not None else table.rows[1:]
        marks = {row[i] if i < len(row) else "" for row in rows for i in others}
        if len(others) == self.count and marks <= _YES | _NO:
            raise InputError(
                f"The column {header[label]} of {self.path} may hold the labels, or be one of"
                f" {self.count} columns of 0 and 1, one per class.",
                tip=f"{_NAMES_TIP} The columns are then read by these names.",
            )

    def _of_columns(
        self, table: Table, header: Sequence[str], file: int, columns: list[int]
    ) -> tuple[Rows, list[frozenset[int]], str]:
        start = 0 if table.header is not None else 1
        places, how = self._places([header[i] for i in columns])
        rows, sets = [], []
        for line, cells in zip(table.lines[start:], table.rows[start:], strict=True):
            marks = [cells[i] if i < len(cells) else "" for i in columns]
            bad = next((i for i, mark in enumerate(marks) if mark not in _YES | _NO), None)
            if bad is not None:
                raise InputError(
                    f"Line {line} of {self.path} has {marks[bad]!r} in the column"
                    f" {header[columns[bad]]}, and 0 or 1 was expected.",
                    tip=_TIP,
                )
            rows.append(Row(line, cells[file].replace("\\", "/"), ""))
            hot = (place for place, mark in zip(places, marks, strict=True) if mark in _YES)
            sets.append(frozenset(hot))
        names = ", ".join(header[i] for i in columns[:_SHOWN])
        more = ", ..." if len(columns) > _SHOWN else ""
        return Rows(rows, ""), sets, f"the columns {header[file]} and, {how}, {names}{more}"

    def _places(self, columns: Sequence[str]) -> tuple[list[int], str]:
        """The class of each column, and how that is known."""
        for index, how in ((self._by_name(), "by their names"), (self._by_index(), "by index")):
            if all(spelling(name) in index for name in columns):
                places = [index[spelling(name)] for name in columns]
                if len(set(places)) == len(places) == self.count:
                    return places, f"one per class {how}"
                lacking = sorted(set(range(self.count)) - set(places))
                raise InputError(
                    f"{self.path} has {len(columns)} columns of classes, and the model has"
                    f" {self.count}: there is none for {self._named(lacking[:_SHOWN])}.",
                    tip="Give one column per class.",
                )
        if self.names or len(columns) != self.count:
            odd = next((n for n in columns if spelling(n) not in self._by_name()), columns[0])
            raise InputError(
                f"{self.path} has {len(columns)} columns beside the file, such as {odd!r}, which"
                f" is none of the model's {self.count} classes.",
                tip=_NAMES_TIP,
            )
        return list(range(self.count)), "one per class in the order of the model's outputs"

    # One column

    def _of_cells(self, read: Rows) -> tuple[list[frozenset[int]], str]:
        """By every way in which all cells can be read; InputError where two differ."""
        cells = [row.label for row in read.rows]
        ways: dict[str, list[frozenset[int]]] = {}
        for by, index in (("names", self._by_name()), ("indices", self._by_index())):
            for between, parts_of in _WAYS.items():
                found = _read_by(cells, parts_of, index)
                if found is not None:
                    ways[f"{by} {between}"] = found
        distinct = [way for i, way in enumerate(ways) if ways[way] not in [*ways.values()][:i]]
        if not distinct:
            raise self._unreadable(read)
        if len(distinct) > 1:
            raise InputError(
                f"The labels of {self.path} can be read as {distinct[0]} and as {distinct[1]}.",
                tip="Put | between the names of an image's classes.",
            )
        how, sets = distinct[0], ways[distinct[0]]
        if how.startswith("indices") and not any(0 in own for own in sets):
            how += ", counted from 0, which no image has"
        return sets, f"{read.columns} ({how})"

    def _unreadable(self, read: Rows) -> InputError:
        known = {**self._by_name(), **self._by_index()}
        for row in read.rows:
            fits = (_read_by([row.label], parts_of, known) for parts_of in _WAYS.values())
            if all(one is None for one in fits):
                what = "the names or indices of classes" if self.names else "indices of classes"
                return InputError(
                    f"Line {row.line} of {self.path} has {row.label[:80]!r}, which are not {what}"
                    f" that the model has ({self.count}).",
                    tip=_TIP if self.names else _NAMES_TIP,
                )
        return InputError(
            f"No one sign stands between the labels of {self.path} in all its rows.", tip=_TIP
        )

    def _by_name(self) -> dict[str, int]:
        return {spelling(name): i for i, name in enumerate(self.names)}

    def _by_index(self) -> dict[str, int]:
        return {str(i): i for i in range(self.count)}

    def _named(self, places: Sequence[int]) -> str:
        return ", ".join(self.names[i] if self.names else str(i) for i in places)


def _json_parts(cell: str) -> list[str]:
    if not cell.startswith("["):
        raise ValueError("no list")
    return [str(part) for part in json.loads(cell)]


def _parts_at(sign: str) -> Callable[[str], list[str]]:
    return lambda cell: [part for part in map(str.strip, cell.split(sign)) if part]


_WAYS: dict[str, Callable[[str], list[str]]] = {
    "of one class per row": lambda cell: [cell],
    "in JSON lists": _json_parts,
    "with | between": _parts_at("|"),
    "with ; between": _parts_at(";"),
    "with , between": _parts_at(","),
    "with spaces between": str.split,
}


def _read_by(
    cells: Sequence[str], parts_of: Callable[[str], list[str]], index: Mapping[str, int]
) -> list[frozenset[int]] | None:
    """The set in each cell; None where one holds what is no class. An empty cell holds none."""
    found = []
    for cell in cells:
        try:
            parts = [spelling(part) for part in parts_of(cell)] if cell else []
        except (ValueError, TypeError, RecursionError):
            return None
        if not all(part in index for part in parts):
            return None
        found.append(frozenset(index[part] for part in parts))
    return found
