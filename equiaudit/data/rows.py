"""Rows of a table that name images: which column, and which file each row means."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from equiaudit.data.classes import some
from equiaudit.data.listing import EXTENSIONS
from equiaudit.data.places import Place, posix_of
from equiaudit.errors import InputError

__all__ = [
    "FILE",
    "MANY_TIP",
    "Row",
    "best_placed",
    "leftovers",
    "loosest",
    "named",
    "plain",
    "rows_by_file",
]

FILE = [
    "file",
    "file_name",
    "filename",
    "image",
    "image_name",
    "image_path",
    "path",
    "file_path",
    "filepath",
    "img",
    "img_path",
    "image_file",
    "image_id",
    "img_id",
    "image_label",
    "id_code",
    "id",
    "name",
]
MANY_TIP = "Give one class per image; a table with several is of another task than classification."


@dataclass(frozen=True)
class Row:
    """What one line says of one image."""

    line: int
    file: str
    label: str


def plain(name: str) -> str:
    """The name of a column, however it is spelled."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def named(names: Sequence[str], known: Sequence[str], without: int | None = None) -> int | None:
    """The column with the likeliest of the `known` names."""
    for name in known:
        if name in names and names.index(name) != without:
            return names.index(name)
    return None


def _bare(name: str) -> str:
    """Without the ending of an image file."""
    stem, ending = posixpath.splitext(name)
    return stem if ending.lower() in EXTENSIONS else name


def loosest(name: str) -> str:
    """The name by which a row may be found at all."""
    return _bare(posixpath.basename(name)).casefold()


def _any_case(name: str) -> str:
    stem, ending = posixpath.splitext(name)
    return stem + ending.lower()


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    _any_case,
    _bare,
    lambda name: _any_case(posixpath.basename(name)),
    lambda name: _bare(posixpath.basename(name)),
    loosest,
)
"""How names of rows and of files are compared, the strictest first."""


def best_placed(
    rows: Sequence[Row], files: Collection[str], root: Place, table: Place
) -> list[Row]:
    """The rows, their files as they are listed, in the reading by which most of them exist."""
    inside = posix_of(root)
    bases = _bases(inside, posix_of(table))
    placed = [[_placed(row.file, base, inside) for row in rows] for base in bases]
    best: tuple[int, list[Row]] = (-1, [])
    for spelled in _SPELLINGS:
        keys: dict[str, str | None] = {}
        for file in files:
            key = spelled(file)
            keys[key] = None if key in keys else file
        for names in placed:
            found = [keys.get(key, key) for key in map(spelled, names)]
            hits = sum(name is None or name in files for name in found)
            if hits > best[0]:
                if None in found:
                    place = found.index(None)
                    raise _twice(rows[place], spelled(names[place]), files, spelled, table)
                best = (
                    hits,
                    [
                        replace(row, file=name)
                        for row, name in zip(rows, found, strict=True)
                        if name
                    ],
                )
        if best[0] == len(rows):
            break
    return best[1]


def _twice(
    row: Row, key: str, files: Collection[str], spelled: Callable[[str], str], table: Place
) -> InputError:
    both = [file for file in files if spelled(file) == key]
    return InputError(
        f"Line {row.line} of {table} names {row.file!r}, which may be {some(both)}.",
        tip="Write the names with their folders and endings.",
    )


def _bases(root: str, table: str) -> list[str]:
    """The folders that a row's file may be relative to, as absolute posix paths."""
    beside = posixpath.dirname(table)
    return [root, f"{root}/images", posixpath.dirname(root), beside, f"{beside}/images"]


def _placed(file: str, base: str, root: str) -> str:
    """`file` relative to `root`; absolute where it lies outside."""
    full = posixpath.normpath(posixpath.join(base, file))
    return full.removeprefix(root.rstrip("/") + "/")


def rows_by_file(rows: Iterable[Row], files: Collection[str], path: Place) -> dict[str, Row]:
    """The row of each of `files` that has one; InputError where two contradict each other."""
    by_file: dict[str, Row] = {}
    for row in rows:
        if row.file not in files:
            continue
        first = by_file.setdefault(row.file, row)
        if first.label != row.label:
            raise InputError(
                f"{path} labels {row.file!r} twice: {first.label!r} in line {first.line} and"
                f" {row.label!r} in line {row.line}.",
                tip=MANY_TIP,
            )
    return by_file


def leftovers(
    rows: Sequence[Row], files: Collection[str], used: Collection[str], name: str
) -> tuple[str, ...]:
    """Notes on rows without an image, and images without a row."""
    absent = [row.file for row in rows if row.file not in used]
    unlabelled = [file for file in files if file not in used]
    notes = []
    if absent:
        notes.append(f"{len(absent)} rows of {name} name no image here ({some(absent)}).")
    if unlabelled:
        notes.append(
            f"{len(unlabelled)} images have no row in {name} and are left out ({some(unlabelled)})."
        )
    return tuple(notes)
