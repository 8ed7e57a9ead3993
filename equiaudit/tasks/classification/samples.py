"""samples.csv: one row per image and kind."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from equiaudit.audit.shelf import Records
from equiaudit.kinds import Offset
from equiaudit.metrics.classification import consistency
from equiaudit.metrics.lattice import px
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.shifts.plan import Offsets
from equiaudit.tasks.classification.records import NONFINITE, LabelRecord
from equiaudit.tasks.classification.table import Ints, clean_of, figures_of, labels_of, predicted_of

COLUMNS = (
    "file",
    "kind",
    "label",
    "clean_label",
    "clean_confidence",
    "offsets",
    "agree",
    "consistency",
    "correct",
    "flip_radius",
    "flipped_label",
    "flipped_dy",
    "flipped_dx",
    "confidence_wobble",
    "logit_error",
    "nonfinite",
    "label_name",
    "clean_name",
    "flipped_name",
)


_NAMED = tuple(COLUMNS.index(name) for name in ("label", "clean_label", "flipped_label"))
_PIECE = 256
"""Images to a piece of text."""


def samples_csv(
    plan: ShiftPlan, records: Records[LabelRecord], names: Mapping[int, str]
) -> Iterator[str]:
    """The table as text, in pieces of whole rows; a cell that does not apply is empty.

    `names` are those of the classes that have one.
    """
    yield _text([COLUMNS])
    for start in range(0, len(records), _PIECE):
        some = records[start : start + _PIECE]
        by_kind = [_rows(series, plan, some) for series in plan.series]
        rows = (row for rows in zip(*by_kind, strict=True) for row in rows)
        yield _text((*row, *(names.get(row[at]) for at in _NAMED)) for row in rows)


def _text(rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _rows(
    series: Series, plan: ShiftPlan, records: Records[LabelRecord]
) -> Iterator[tuple[Any, ...]]:
    """A row of each record, its cells in the order of `COLUMNS`; without the names."""
    clean, predicted = clean_of(records), predicted_of(records, series.name)
    agree = (predicted == clean[:, None]).sum(axis=1).tolist()
    right = (predicted == labels_of(records)[:, None]).sum(axis=1).tolist()
    agreement = consistency(predicted).tolist()
    lost = ((predicted == NONFINITE).sum(axis=1) + (clean == NONFINITE)).tolist()
    figures = figures_of(records, series.name).tolist()
    for i, record in enumerate(records):
        unshifted = record.clean if record.clean != NONFINITE else None
        confidence, count = _cell(record.confidence), predicted.shape[1]
        row = (record.file, series.name, record.label, unshifted, confidence, count)
        if lost[i]:
            yield (*row, *(None,) * 9, lost[i])
            continue
        correct = None if record.label is None else right[i]
        flipped = _flipped(plan.offsets(series, record.index), predicted[i], record.clean)
        wobble, error = figures[i]
        kept = (agree[i], repr(agreement[i]), correct)
        yield (*row, *kept, *flipped, _cell(wobble), _cell(error), 0)


def _cell(figure: float) -> str | None:
    """Empty for what needs scores, where the model returns labels."""
    return None if math.isnan(figure) else f"{figure:.6g}"


def _flipped(offsets: Offsets, predicted: Ints, clean: int) -> tuple[object, ...]:
    """Radius of the nearest flip, the label there, dy and dx; empty cells where none flips."""
    found = flip(offsets, predicted, clean)
    if found is None:
        return (None,) * 4
    (dy, dx), label = found
    return max(abs(dy), abs(dx)), label, dy, dx


def flip(offsets: Offsets, predicted: Ints, clean: int) -> tuple[Offset, int] | None:
    """The smallest tried offset that changes the label, and the label there; None if none."""
    changed = np.flatnonzero(predicted != clean)
    if not len(changed):
        return None
    distance = np.abs(offsets[changed]).max(axis=1)
    first = changed[int(distance.argmin())]
    dy, dx = offsets[first].tolist()
    return (px(dy), px(dx)), int(predicted[first])
