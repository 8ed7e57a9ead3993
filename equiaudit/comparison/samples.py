"""samples.csv: one row per image and shift kind, and the figures one image contributes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from equiaudit.errors import InputError
from equiaudit.tasks import TASKS
from equiaudit.tasks.samples import Sample

Samples = Mapping[tuple[str, str], Sample]
"""(kind, file) -> its row, in the order of the file."""


def read_samples(path: str | Path) -> Samples:
    """The rows of a samples.csv by (kind, file).

    `path` is that file, or the result.json or folder beside which it lies. InputError says so
    where there is none, and names the line of a row that cannot be read.
    """
    place = Path(path)
    place = place if place.suffix == ".csv" else samples_beside(place)
    try:
        with place.open(encoding="utf-8", newline="") as file:
            return _read_rows(place, csv.DictReader(file, strict=True))
    except FileNotFoundError:
        raise InputError(
            f"There is no samples.csv at {place}, so the results cannot be paired by image.",
            tip="Keep the folder that the scan wrote together, or scan again.",
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place} is not a samples.csv: {error}.") from None


def parse_samples(text: str) -> Samples:
    """`read_samples` of a table that is at hand as text."""
    return _read_rows(Path("samples.csv"), csv.DictReader(io.StringIO(text), strict=True))


def samples_beside(result: Path) -> Path:
    """The samples.csv that belongs to a result.json, or to the folder it is in."""
    return (result if result.is_dir() else result.parent) / "samples.csv"


def _read_rows(place: Path, reader: csv.DictReader[str]) -> Samples:
    rows: dict[tuple[str, str], Sample] = {}
    # Of columns that no task has, the first says what lacks.
    tasks, columns = [*TASKS.values()], reader.fieldnames or ()
    task = next((task for task in tasks if task.wrote(columns)), tasks[0])
    for row in reader:
        try:
            _check_cells(row)
            key, sample = (row["kind"], row["file"]), task.sample(row)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{place}, line {reader.line_num}, is not a row of samples.csv: {error}."
            ) from None
        if key in rows:
            raise InputError(f"{place}, line {reader.line_num}, repeats {key[1]!r} of {key[0]!r}.")
        rows[key] = sample
    return rows


def _check_cells(row: Mapping[str | None, object]) -> None:
    """The reader fills what a short row lacks with None, and puts surplus cells under None."""
    if None in row or None in row.values():
        raise ValueError("its number of cells is not that of the header")
