"""samples.csv: one row per image and kind."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from equiaudit.audit.classification.records import NONFINITE, LabelRecord
from equiaudit.metrics.classification import consistency
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.shifts.plan import Offsets

__all__ = ["COLUMNS", "flip", "samples_csv"]

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
)


def samples_csv(plan: ShiftPlan, records: Sequence[LabelRecord]) -> str:
    """The whole table as text; a cell that does not apply is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records:
        for series in plan.series:
            writer.writerow(_row(series, plan.offsets(series, record.index), record))
    return out.getvalue()


def _row(series: Series, offsets: Offsets, record: LabelRecord) -> dict[str, object]:
    own = record.of(series.name)
    predicted = np.array(own.predicted, np.int64)
    lost = int((predicted == NONFINITE).sum()) + (record.clean == NONFINITE)
    row: dict[str, object] = {
        "file": record.file,
        "kind": series.name,
        "label": record.label,
        "clean_label": record.clean if record.clean != NONFINITE else None,
        "clean_confidence": f"{record.confidence:.6g}",
        "offsets": len(predicted),
        "nonfinite": lost,
    }
    if lost:
        return row
    row |= {
        "agree": int((predicted == record.clean).sum()),
        "consistency": repr(float(consistency(predicted[None])[0])),
        "correct": None if record.label is None else int((predicted == record.label).sum()),
        "confidence_wobble": f"{own.wobble:.6g}",
        "logit_error": f"{own.logit_error:.6g}",
    }
    found = flip(offsets, predicted, record.clean)
    if found is not None:
        at, label = found
        distance = max(abs(at[0]), abs(at[1]))
        row |= {"flip_radius": distance, "flipped_label": label}
        row |= {"flipped_dy": at[0], "flipped_dx": at[1]}
    return row


def flip(
    offsets: Offsets, predicted: np.ndarray[tuple[int, ...], np.dtype[np.int64]], clean: int
) -> tuple[tuple[int, int], int] | None:
    """The smallest tried offset that changes the label, and the label there; None if none."""
    changed = np.flatnonzero(predicted != clean)
    if not len(changed):
        return None
    distance = np.abs(offsets[changed]).max(axis=1)
    first = changed[int(distance.argmin())]
    return (int(offsets[first, 0]), int(offsets[first, 1])), int(predicted[first])
