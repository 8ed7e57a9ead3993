"""A table of numbers for each image: what a regression should say of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.labels import Row, best_placed, leftovers, rows_by_file
from equiaudit.data.places import Place
from equiaudit.data.table_columns import FILE_COLUMNS, column_named, plain
from equiaudit.data.tables import read_table
from equiaudit.errors import InputError

_TIP = "Name the columns file and, one per output of the model, whatever the numbers are."


@dataclass(frozen=True, eq=False)
class Numbers:
    """K numbers for each of some images."""

    of: dict[str, NDArray[np.float64]]
    """Name of an image -> (K,)."""
    names: tuple[str, ...]
    """Of the K columns; empty where the table has no header."""
    notes: tuple[str, ...]


def numbers_of_table(path: Place, files: Collection[str], root: Place) -> Numbers:
    """The numbers that a table with a column of files has for `files` (relative to `root`).

    Every other column has to hold finite numbers. Without a header the first column names the
    files. Rows are matched with files as labels are (`data.labels`). InputError for a cell that is
    no number, a table whose rows fit no file, and two rows that contradict each other.
    """
    table = read_table(path)
    header, rows, lines = table.header, table.rows, table.lines
    if header is None and rows and not _are_numbers(rows[0][1:]):
        header, rows, lines = rows[0], rows[1:], lines[1:]
    file = 0 if header is None else column_named([plain(name) for name in header], FILE_COLUMNS)
    if file is None:
        raise InputError(
            f"The labels file {path} has no column file; its first line is"
            f" {', '.join(header or ())[:120]!r}.",
            tip=_TIP,
        )
    width = len(header or (rows[0] if rows else ()))
    read = [_row(line, cells, file, width, path) for line, cells in zip(lines, rows, strict=True)]
    placed = best_placed(read, files, root, path)
    found = rows_by_file(placed, files, path)
    if not found:
        raise InputError(
            f"None of the {len(read)} files named in {path} is among the {len(files)} images in"
            f" {root}.",
            tip="Its column `file` must be relative to the image folder.",
        )
    names = () if header is None else tuple(name for i, name in enumerate(header) if i != file)
    said = f"{len(found)} of {len(files)} images have numbers in {path.name}"
    columns = f" ({', '.join(names)})." if names else "."
    return Numbers(
        {name: _parsed(row.label) for name, row in found.items()},
        names,
        (said + columns, *leftovers(placed, files, found, path.name)),
    )


def _row(line: int, cells: Sequence[str], file: int, width: int, path: Place) -> Row:
    """The numbers as one text, which two rows of one image are compared by."""
    others = [cell for i, cell in enumerate(cells) if i != file]
    if len(cells) != width or width < 2 or not cells[file]:
        raise InputError(f"Line {line} of {path} lacks a file or a number.", tip=_TIP)
    bad = next((cell for cell in others if not _are_numbers([cell])), None)
    if bad is not None:
        raise InputError(f"Line {line} of {path} has {bad[:80]!r}, which is no number.", tip=_TIP)
    return Row(line, cells[file].replace("\\", "/"), ",".join(repr(float(c)) for c in others))


def _parsed(text: str) -> NDArray[np.float64]:
    return np.array([float(cell) for cell in text.split(",")])


def _are_numbers(cells: Sequence[str]) -> bool:
    try:
        return bool(cells) and all(math.isfinite(float(cell)) for cell in cells)
    except ValueError:
        return False
