"""From the names of class folders, or the rows of a CSV file, to class indices."""

from __future__ import annotations

import csv
import io
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from equiaudit.data.places import Place, posix_of, read_text
from equiaudit.errors import InputError

__all__ = ["Classes", "classes_of", "labels_of_csv"]

_CSV_TIP = "Give the labels with --labels FILE.csv (columns file,label)."


@dataclass(frozen=True)
class Classes:
    """What each label in the data means: label -> class index, and class index -> name."""

    index: Mapping[str, int]
    names: Mapping[int, str]
    notes: tuple[str, ...] = ()


def classes_of(
    labels: Sequence[str],
    class_names: Sequence[str] | None,
    num_classes: int | None,
    *,
    source: str,
) -> Classes:
    """Match the distinct `labels` of `source` with the classes of the model.

    In this order: (1) all are names of the model's classes; (2) all are integers, which are
    the indices; (3) there are as many as the model has classes, or the model's number of
    classes is unknown: the sorted names count from 0. Anything else is an InputError.
    """
    labels = sorted(set(labels))
    classes = _by_model_name(labels, class_names) or _by_number(labels, class_names)
    if classes is None:
        classes = _by_order(labels, class_names, num_classes, source)
    _check_range(classes.index, num_classes, source)
    return classes


def _by_model_name(labels: Sequence[str], class_names: Sequence[str] | None) -> Classes | None:
    if class_names is None:
        return None
    spelled = [_spelling(name) for name in class_names]
    count = Counter(spelled)
    # A name that two classes share decides nothing.
    known = {name: i for i, name in enumerate(spelled) if count[name] == 1}
    if not all(_spelling(label) in known for label in labels):
        return None
    index = {label: known[_spelling(label)] for label in labels}
    return Classes(index, dict(enumerate(class_names)))


def _spelling(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _by_number(labels: Sequence[str], class_names: Sequence[str] | None) -> Classes | None:
    if not all(label.isascii() and label.isdigit() and len(label) <= 9 for label in labels):
        return None
    names = dict(enumerate(class_names)) if class_names is not None else {}
    return Classes({label: int(label) for label in labels}, names)


def _by_order(
    labels: Sequence[str], class_names: Sequence[str] | None, num_classes: int | None, source: str
) -> Classes:
    if num_classes is None and class_names is not None:
        num_classes = len(class_names)
    if num_classes is not None and num_classes != len(labels):
        raise InputError(
            f"The {source} name {len(labels)} classes ({_some(labels)}) and the model has"
            f" {num_classes}, so which is which cannot be told.",
            tip=_CSV_TIP,
        )
    index = {label: i for i, label in enumerate(labels)}
    unlike = "" if class_names is None else ", which do not bear the names of the model's classes"
    notes = (f"Classes are numbered from 0 in the sorted order of the {source}{unlike}.",)
    return Classes(index, {i: label for label, i in index.items()}, notes)


def _check_range(index: Mapping[str, int], num_classes: int | None, source: str) -> None:
    if num_classes is None:
        return
    for label, i in index.items():
        if i >= num_classes:
            raise InputError(
                f"The {source} name class {label!r}, and the model's {num_classes} classes are"
                f" 0 to {num_classes - 1}.",
                tip=_CSV_TIP,
            )


def _some(names: Collection[str], limit: int = 3) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:limit])
    return f"{shown}, ..." if len(names) > limit else shown


@dataclass(frozen=True)
class _Row:
    line: int
    file: str
    label: str


def labels_of_csv(
    path: Place,
    files: Collection[str],
    root: Place,
    class_names: Sequence[str] | None,
    num_classes: int | None,
) -> tuple[dict[str, int], Classes]:
    """Labels of `files` (names relative to `root`) from a CSV with columns file and label.

    A row's file is looked up relative to `root`, to the folder of the CSV file, or to an
    ``images`` folder in either: the one that finds the most. Rows without an image, and
    images without a row, are left out with a note; that no row fits, that two rows
    contradict each other, or a malformed row is an InputError.
    """
    rows = _best_placed(_read_rows(path), files, root, path)
    by_file = _rows_by_file(rows, files, path)
    if not by_file:
        raise InputError(
            f"None of the {len(rows)} files named in {path} is among the {len(files)} images"
            f" in {root}.",
            tip="Its column `file` must be relative to the image folder.",
        )
    source = f"rows of {path.name}"
    classes = classes_of([r.label for r in rows], class_names, num_classes, source=source)
    notes = classes.notes + _leftovers(rows, files, by_file, path.name)
    labels = {file: classes.index[row.label] for file, row in by_file.items()}
    return labels, replace(classes, notes=notes)


def _read_rows(path: Place) -> list[_Row]:
    try:
        text = io.StringIO(read_text(path), newline="")
        return list(_parse_rows(csv.DictReader(text), path))
    except FileNotFoundError:
        raise InputError(f"There is no labels file at {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The labels file {path} cannot be read: {error}.") from None


def _parse_rows(reader: csv.DictReader[str], path: Place) -> Iterable[_Row]:
    if missing := {"file", "label"} - set(reader.fieldnames or ()):
        raise InputError(
            f"The labels file {path} has no column {' and no column '.join(sorted(missing))}.",
            tip="Its first line must name the columns: file,label.",
        )
    for row in reader:
        file, label = row["file"], (row["label"] or "").strip()
        if not file or not label:
            raise InputError(f"Line {reader.line_num} of {path} lacks a file or a label.")
        yield _Row(reader.line_num, file.replace("\\", "/"), label)


def _best_placed(
    rows: Sequence[_Row], files: Collection[str], root: Place, table: Place
) -> list[_Row]:
    """The rows, their files read relative to the base under which most of them exist."""
    inside = posix_of(root)
    readings = [_place(rows, base, inside) for base in _bases(inside, posix_of(table))]
    return max(readings, key=lambda placed: sum(row.file in files for row in placed))


def _bases(root: str, table: str) -> list[str]:
    """The folders that a row's file may be relative to, as absolute posix paths."""
    beside = posixpath.dirname(table)
    return [root, f"{root}/images", posixpath.dirname(root), beside, f"{beside}/images"]


def _place(rows: Iterable[_Row], base: str, root: str) -> list[_Row]:
    """The rows with `file` relative to `root`; left absolute where it lies outside."""
    inside = root.rstrip("/") + "/"
    full = ((row, posixpath.normpath(posixpath.join(base, row.file))) for row in rows)
    return [replace(row, file=name.removeprefix(inside)) for row, name in full]


def _rows_by_file(rows: Iterable[_Row], files: Collection[str], path: Place) -> dict[str, _Row]:
    by_file: dict[str, _Row] = {}
    for row in rows:
        if row.file not in files:
            continue
        first = by_file.setdefault(row.file, row)
        if first.label != row.label:
            raise InputError(
                f"{path} labels {row.file!r} twice: {first.label!r} in line {first.line} and"
                f" {row.label!r} in line {row.line}."
            )
    return by_file


def _leftovers(
    rows: Sequence[_Row], files: Collection[str], used: Collection[str], name: str
) -> tuple[str, ...]:
    absent = [row.file for row in rows if row.file not in used]
    unlabelled = [file for file in files if file not in used]
    notes = []
    if absent:
        notes.append(f"{len(absent)} rows of {name} name no image here ({_some(absent)}).")
    if unlabelled:
        notes.append(
            f"{len(unlabelled)} images have no row in {name} and are left out"
            f" ({_some(unlabelled)})."
        )
    return tuple(notes)
