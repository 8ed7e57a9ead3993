"""From the rows of a table to the labels of images: which columns, which files, which classes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from equiaudit.data.classes import (
    Classes,
    ClassOrder,
    Known,
    classes_of,
    no_index,
    some,
    spelling,
)
from equiaudit.data.listing import EXTENSIONS
from equiaudit.data.places import Place, posix_of
from equiaudit.data.table_columns import FILE_COLUMNS, LABEL_COLUMNS, column_named, plain
from equiaudit.data.tables import Table, read_table
from equiaudit.errors import InputError

_TIP = (
    "Name the columns file,label. Known are also filename, file_name, image, path, image_id for the"
    " file, and class, target, category, y for the label."
)
_MANY_TIP = "Give one class per image; --task multilabel reads several."
_BETWEEN = ("|", ";", ",")
"""What stands between several labels in one cell."""


@dataclass(frozen=True)
class Row:
    """One row of a table: where it stands, and its two cells."""

    line: int
    file: str
    label: str


@dataclass(frozen=True)
class Rows:
    """The rows that hold files and labels."""

    rows: list[Row]
    columns: str
    """What they were read from, in words."""
    classes: tuple[str, ...] = ()
    """Names of the columns where each is a class."""


def labels_of_table(
    path: Place,
    files: Collection[str],
    root: Place,
    known: Known,
    order: ClassOrder | None = None,
    *,
    columns: tuple[int, int] | None = None,
    whole: Sequence[str] = (),
) -> tuple[dict[str, str], Classes]:
    """Labels of `files` (names relative to `root`) from a table, and the classes they mean.

    Its delimiter, header and encoding are told from the text (`read_table`), the columns from
    their names, or, where there are two, from what they hold; `columns` names them by place
    where there is no header. A row's file is looked up relative to `root`, to the folder of the
    table, or to an ``images`` folder in either, exactly; then in any case of the extension,
    without it, and without folders: whichever finds the most. Rows without an image, and images
    without a row, are left out with a note; that no row fits, that a name fits two images, that
    two rows contradict each other, or a malformed row is an InputError.
    """
    read = rows_of(read_table(path), path, files, columns, known.names or ())
    for row in read.rows:
        if not row.label:
            raise InputError(f"Line {row.line} of {path} lacks a file or a label.")
    _refuse_several(read.rows, path)
    rows = best_placed(read.rows, files, root, path)
    by_file = rows_by_file(rows, files, path)
    if not by_file:
        first = f"; the first row names {read.rows[0].file!r}" if read.rows else ""
        raise InputError(
            f"None of the {len(rows)} files named in {path} is among the {len(files)} images"
            f" in {root}{first}.",
            tip="Its column `file` must be relative to the image folder.",
        )
    source = f"rows of {path.name}"
    labels = {row.label: row for row in reversed(rows)}
    bad = no_index(labels)
    if bad is not None:
        row = labels[bad]
        tip = "Class indices count from 0."
        if bad.startswith("-"):
            tip += " Take out the rows where it stands for no label."
        raise InputError(
            f"Line {row.line} of {path} labels {row.file!r} with {bad}, which is no class.", tip=tip
        )
    if not all(name.isdecimal() for name in read.classes):  # else numbers are indices
        whole = whole or read.classes
    classes = classes_of(labels, known, source=source, order=order, table=True, whole=whole)
    said = f"{len(by_file)} of {len(files)} images labelled from {read.columns} of {path.name}."
    notes = (said, *classes.notes, *leftovers(rows, files, by_file, path.name))
    found = {file: row.label for file, row in by_file.items()}
    return found, replace(classes, notes=notes)


def rows_of(
    table: Table,
    path: Place,
    files: Collection[str],
    places: tuple[int, int] | None,
    classes: Collection[str] = (),
) -> Rows:
    """The rows of a table, by the columns that hold files and labels.

    `classes` are the model's: a column called as labels are may be one of them.
    """
    if places is not None:
        said = f"columns {places[0] + 1} and {places[1] + 1}"
        return _by_place(table.rows, table.lines, *places, path, said)
    rows, lines = table.rows, table.lines
    header = table.header
    if header is None:
        header, rows, lines = rows[0] if rows else (), rows[1:], lines[1:]
    names = [plain(name) for name in header]
    file = column_named(names, FILE_COLUMNS)
    label = column_named(names, LABEL_COLUMNS, without=file)
    if file is not None and label is not None and len(names) > 2:
        others = [name for i, name in enumerate(header) if i != file]
        if {spelling(name) for name in others} <= {spelling(name) for name in classes}:
            label = None
        else:
            _refuse_marks(header, rows, file, label, path)
    if file is not None and label is not None:
        _refuse_two_labels(names, header, rows, label, path)
        return _by_place(rows, lines, file, label, path, f"columns {header[file]}, {header[label]}")
    if file is not None and len(names) > 2 and (hot := _one_hot(header, rows, lines, file, path)):
        return hot
    if table.header is None and len(names) == 2 and rows is not None:
        return _two_columns(table, path, files, file, label)
    lacking = [w for w, c in (("file", file), ("label", label)) if c is None]
    raise InputError(
        f"The labels file {path} has no column {' and no column '.join(lacking)}; its first line"
        f" is {', '.join(header)[:120]!r}.",
        tip=_TIP,
    )


def has_columns(table: Table) -> bool:
    """Whether a header names a column of files and one of labels."""
    header = table.header if table.header is not None else (table.rows[:1] or ((),))[0]
    names = [plain(name) for name in header]
    file = column_named(names, FILE_COLUMNS)
    return file is not None and column_named(names, LABEL_COLUMNS, without=file) is not None


def _by_place(
    rows: Iterable[Sequence[str]],
    lines: Iterable[int],
    file: int,
    label: int,
    path: Place,
    columns: str,
) -> Rows:
    found = []
    for line, cells in zip(lines, rows, strict=True):
        named = cells[file] if file < len(cells) else ""
        shown = cells[label] if label < len(cells) else ""
        if not named:
            raise InputError(f"Line {line} of {path} lacks a file or a label.")
        found.append(Row(line, named.replace("\\", "/"), shown))
    return Rows(found, columns)


def _two_columns(
    table: Table, path: Place, files: Collection[str], file: int | None, label: int | None
) -> Rows:
    """Files and labels without a header, or with one that says nothing; told by what they hold."""
    loosest = _SPELLINGS[-1]
    keys = {loosest(name) for name in files}

    def hits(rows: Sequence[Sequence[str]], column: int) -> int:
        cells = (row[column] for row in rows if column < len(row))
        return sum(loosest(cell.replace("\\", "/")) in keys for cell in cells)

    def ended(column: int) -> int:
        cells = (row[column].lower() for row in table.rows if column < len(row))
        return sum(cell.endswith(tuple(EXTENSIONS)) for cell in cells)

    found = [hits(table.rows, column) for column in (0, 1)]
    if file is None and label is not None:
        file = 1 - label
    if file is None:  # `9.png,0` beside 0.png: what ends as images do is no class index.
        file = max((0, 1), key=lambda column: (ended(column), found[column]))
    first = hits(table.rows[:1], file) or not hits(table.rows, file)
    start = 0 if first and label is None else 1
    if found[0] == found[1] and found[0] and start == 0:
        raise InputError(
            f"Both columns of {path} name images, so which holds the labels cannot be told.",
            tip=_TIP,
        )
    said = (
        f"columns {file + 1} and {2 - file}"
        if start == 0
        else "columns " + ", ".join((table.rows[0][file], table.rows[0][1 - file]))
    )
    if not any(found) and start == 0 and len(table.rows[0]) == 2:
        cells = ", ".join(table.rows[0])
        raise InputError(
            f"The labels file {path} has no column file and no column label, and none of its cells"
            f" names an image here; its first line is {cells[:120]!r}.",
            tip=_TIP,
        )
    return _by_place(table.rows[start:], table.lines[start:], file, 1 - file, path, said)


def _one_hot(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
    file: int,
    path: Place,
) -> Rows | None:
    """One column per class, with 1 in that of the image and 0 elsewhere; None if it is not so."""
    columns = [i for i in range(len(header)) if i != file]
    found = []
    for line, cells in zip(lines, rows, strict=True):
        marks = [cells[i] if i < len(cells) else "" for i in columns]
        if not all(mark in ("0", "1", "0.0", "1.0") for mark in marks):
            return None
        hot = [i for i, mark in zip(columns, marks, strict=True) if mark.startswith("1")]
        if len(hot) != 1:
            named = " and ".join(header[i] for i in hot[:3]) or "none"
            raise InputError(
                f"Line {line} of {path} has {len(hot)} classes ({named}), and one was expected.",
                tip=_MANY_TIP,
            )
        found.append(Row(line, cells[file].replace("\\", "/"), header[hot[0]]))
    names = ", ".join(header[i] for i in columns[:3]) + (", ..." if len(columns) > 3 else "")
    said = f"columns {header[file]} and, one per class, {names}"
    return Rows(found, said, tuple(header[i] for i in columns)) if found else None


def _refuse_marks(
    header: Sequence[str], rows: Sequence[Sequence[str]], file: int, label: int, path: Place
) -> None:
    """A column called as labels are, beside others with which it has a single 1 in each row."""
    cells = [[cell for i, cell in enumerate(row) if i != file] for row in rows]
    if cells and all(set(row) <= {"0", "1"} and row.count("1") == 1 for row in cells):
        raise InputError(
            f"The column {header[label]} of {path} may hold the labels, or be one of"
            f" {len(header) - 1} columns of 0 and 1, one per class.",
            tip="Take the other columns out where they are no classes; else name the classes with"
            " --class-names FILE.",
        )


def _refuse_two_labels(
    names: Sequence[str],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    label: int,
    path: Place,
) -> None:
    """A second column of labels has to say the same in other words."""
    for other in (i for i, name in enumerate(names) if name in LABEL_COLUMNS and i != label):
        pairs = {(row[label], row[other]) for row in rows if max(label, other) < len(row)}
        if len({a for a, _ in pairs}) != len(pairs) or len({b for _, b in pairs}) != len(pairs):
            raise InputError(
                f"The labels file {path} has the columns {header[label]} and {header[other]}, which"
                " do not name the same classes.",
                tip="Rename the one that is not the label.",
            )


def _refuse_several(rows: Sequence[Row], path: Place) -> None:
    """Cells that hold several labels: their parts are labels of other rows, or they are lists."""
    labels = {row.label for row in rows}
    for between in _BETWEEN:
        parted = [row for row in rows if between in row.label]
        parts = {part.strip() for row in parted for part in row.label.split(between)}
        alone = labels - {row.label for row in parted}
        lists = between == "|" or any(row.label.startswith("[") for row in parted)
        if parted and parts and (lists or (alone and parts & alone)):
            raise InputError(
                f"Line {parted[0].line} of {path} has several labels, {parted[0].label!r}.",
                tip=_MANY_TIP,
            )


def _bare(name: str) -> str:
    """Without the ending of an image file."""
    stem, ending = posixpath.splitext(name)
    return stem if ending.lower() in EXTENSIONS else name


def _any_case(name: str) -> str:
    stem, ending = posixpath.splitext(name)
    return stem + ending.lower()


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    _any_case,
    _bare,
    lambda name: _any_case(posixpath.basename(name)),
    lambda name: _bare(posixpath.basename(name)),
    lambda name: _bare(posixpath.basename(name)).casefold(),
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
                tip=_MANY_TIP,
            )
    return by_file


def leftovers(
    rows: Sequence[Row], files: Collection[str], used: Collection[str], name: str
) -> tuple[str, ...]:
    """What to say of rows without an image, and of images without a row."""
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
