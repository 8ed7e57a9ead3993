"""samples.csv: one row per image and shift kind, and the figures one image contributes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from equiaudit.errors import InputError

__all__ = [
    "YES_OR_NO",
    "MapSample",
    "Sample",
    "Samples",
    "figure_of",
    "parse_samples",
    "read_samples",
    "samples_beside",
]


@dataclass(frozen=True)
class Sample:
    """One row of samples.csv; None where a cell is empty."""

    label: int | None
    clean_label: int | None
    offsets: int
    agree: int | None
    consistency: float | None
    correct: int | None
    confidence_wobble: float | None
    logit_error: float | None
    nonfinite: bool


@dataclass(frozen=True)
class MapSample:
    """One row of samples.csv where outputs are maps."""

    figures: Mapping[str, float]
    """Metric -> the image's figure, of the metrics that are means of one per image."""
    nonfinite: bool


Samples = Mapping[tuple[str, str], Sample | MapSample]
"""(kind, file) -> its row, in the order of the file."""


def read_samples(path: str | Path) -> Samples:
    """The rows of a samples.csv by (kind, file).

    `path` is that file, or the result.json or folder beside which it lies. InputError says so
    where there is none, and names the line of a row that cannot be read.
    """
    place = _samples_path(Path(path))
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


def _samples_path(path: Path) -> Path:
    return path if path.suffix == ".csv" else samples_beside(path)


def _read_rows(place: Path, reader: csv.DictReader[str]) -> Samples:
    rows: dict[tuple[str, str], Sample | MapSample] = {}
    for row in reader:
        try:
            _check_cells(row)
            key, sample = (row["kind"], row["file"]), _sample(row)
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


def _sample(row: Mapping[str, str]) -> Sample | MapSample:
    if "clean_label" not in row and row.keys() & _OF_MAPS:
        return MapSample(_map_figures(row), bool(_whole(row["nonfinite"])))
    return Sample(
        label=_whole(row["label"]),
        clean_label=_whole(row["clean_label"]),
        offsets=int(row["offsets"]),
        agree=_whole(row["agree"]),
        consistency=_real(row["consistency"]),
        correct=_whole(row["correct"]),
        confidence_wobble=_real(row["confidence_wobble"]),
        logit_error=_real(row["logit_error"]),
        nonfinite=bool(_whole(row["nonfinite"])),
    )


def _map_figures(row: Mapping[str, str]) -> dict[str, float]:
    cells = {name: _real(row[name]) for name in _MEANS if name in row}
    kept = _real(row.get("kept", ""))
    if kept is not None:
        cells |= {"mascc": kept, "massc": kept, "flip_rate": 1 - kept}
    return {name: value for name, value in cells.items() if value is not None}


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None


def _real(cell: str) -> float | None:
    if not cell:
        return None
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{cell} is not a finite number")
    return number


def _share(count: int | None, sample: Sample) -> float | None:
    return None if count is None or not sample.offsets else count / sample.offsets


def _is(found: bool | None) -> float | None:
    return None if found is None else float(found)


def _clean_right(sample: Sample) -> bool | None:
    return None if sample.label is None else sample.clean_label == sample.label


def _always_right(sample: Sample) -> bool | None:
    return None if sample.correct is None else sample.correct == sample.offsets


def _flips(sample: Sample) -> bool | None:
    return None if sample.agree is None else sample.agree < sample.offsets


_OF_MAPS = {"kept", "nmse", "mean_iou"}
"""Columns that tell tables of segmentations, of image-to-image models and of sequences."""
_MEANS = (
    *("nmse", "psnr", "ssim", "psnr_clean", "psnr_shifted", "delta_psnr"),
    *("mean_iou", "iou_variance", "area_variance", "lost_share"),
)
"""Metrics of image-to-image models and of sequences that are means of the column of that name."""
_FIGURES: dict[str, Callable[[Sample], float | None]] = {
    "consistency": lambda sample: sample.consistency,
    "agreement": lambda sample: _share(sample.agree, sample),
    "accuracy_clean": lambda sample: _is(_clean_right(sample)),
    "accuracy_shifted": lambda sample: _share(sample.correct, sample),
    "accuracy_worst": lambda sample: _is(_always_right(sample)),
    "flipped": lambda sample: _is(_flips(sample)),
    "confidence_wobble": lambda sample: sample.confidence_wobble,
    "logit_error": lambda sample: sample.logit_error,
}
"""Metrics of classifiers that are the mean of one figure per image, and that figure."""
YES_OR_NO = ("accuracy_clean", "accuracy_worst")


def figure_of(metric: str, sample: Sample | MapSample) -> float | None:
    """The figure of one image whose mean `metric` is; None where it is no such mean."""
    if isinstance(sample, MapSample):
        return sample.figures.get(metric)
    figure = _FIGURES.get(metric)
    return None if figure is None else figure(sample)
