"""samples.csv: one row per image and kind."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from equiaudit.shifts import ShiftPlan
from equiaudit.tasks.detection.records import MOVES, BoxRecord, BoxSeries

COLUMNS = (
    "file",
    "kind",
    "n_boxes",
    "n_compared",
    "n_kept",
    "n_lost",
    "n_relabelled",
    "n_appeared",
    "n_cut_by_border",
    "box_consistency",
    "box_consistency_75",
    "jitter_max",
    "score_wobble",
    "mask_consistency",
    "mask_iou",
    "keypoint_similarity",
    "nonfinite",
)


def samples_csv(plan: ShiftPlan, records: Iterable[BoxRecord]) -> Iterator[str]:
    """The table as text; counts of boxes are over all shifts, and a cell without boxes is empty."""
    yield _text(COLUMNS)
    for record in records:
        for name in plan.names:
            yield _text((record.file, name, record.boxes, *_cells(record.of(name))))


def _cells(own: BoxSeries) -> tuple[object, ...]:
    if not own.finite:
        return (*(None,) * (len(COLUMNS) - 4), 1)
    names = ("counted", "kept", "lost", "relabelled", "appeared", "apart")
    shares = (None if share is None else repr(share) for share in own.consistency)
    jitter = own.moved[:, MOVES.index("jitter")]
    worst = repr(float(jitter.max())) if len(jitter) else None
    means = (own.wobble, own.mask_consistency, own.mask_iou, own.alike)
    cells = (None if value is None else repr(value) for value in means)
    return (*(own.total(name) for name in names), *shares, worst, *cells, 0)


def _text(row: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(row)
    return out.getvalue()
