"""The `Task` of classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from equiaudit.audit.boundary import Changes, boundary_parts
from equiaudit.audit.classification.block import LabelBlock
from equiaudit.audit.classification.records import (
    NONFINITE,
    LabelRecord,
    clean_of,
    figures_of,
    predicted_of,
)
from equiaudit.audit.classification.samples import samples_csv
from equiaudit.audit.classification.worst import worst_images
from equiaudit.audit.jobs import ALIGNED
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import Source
from equiaudit.data import Dataset, Item
from equiaudit.errors import InputError
from equiaudit.metrics import classification
from equiaudit.metrics.intervals import mean_interval
from equiaudit.metrics.paired import paired_difference
from equiaudit.models.types import Model
from equiaudit.results import BoundaryPart, ShiftResult
from equiaudit.shifts import PROTOCOLS, Series, ShiftPlan

__all__ = ["ClassificationTask"]

_CHECK_AFTER = 100
"""Labelled images after which accuracy is compared with chance."""
_CHECK_LEAST = 30
_CHECK_P = 0.01


class ClassificationTask:
    """One label per image."""

    key = ""
    truth = None
    """Labels are known from the listing."""

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        self._model, self._dataset, self._plan, self._options = model, dataset, plan, options

    def parse(self, line: str) -> LabelRecord:
        """A line of the journal."""
        return LabelRecord.from_json(line)

    def lost(self, item: Item, reason: str) -> LabelRecord:
        """The record of an image that cannot be read."""
        return LabelRecord(item.index, item.file, "", label=item.label, unreadable=reason)

    def open_block(self, sources: Sequence[Source]) -> LabelBlock:
        """Begin with some images."""
        return LabelBlock(self._plan, sources, self._model.outputs_probabilities)

    def check(self, records: Sequence[LabelRecord]) -> None:
        """Stop when accuracy is no better than chance."""
        if self._options.accuracy_check:
            _check_accuracy(self._model, len(self._dataset.items), records)

    def is_finite(self, record: LabelRecord, name: str) -> bool:
        """Whether the unshifted output and all outputs of series `name` were finite."""
        return record.clean != NONFINITE and NONFINITE not in record.labels(name)

    def shift_result(self, series: Series, records: Sequence[LabelRecord]) -> ShiftResult:
        """Consistency and its kin, and the maps."""
        seen = _observe(series, self._plan, records)
        stride = self._plan.stride if not series.pair else None
        return ShiftResult(
            kind=series.name,
            metrics=classification.summarise(seen, seed=self._plan.seed),
            agreement_map=classification.agreement_map(seen, series.low, series.high),
            phase_map=classification.phase_map(seen, stride) if stride else None,
            by_distance=classification.by_distance(seen),
            notes=_notes(series, seen),
        )

    bounded = classification.SHARES

    def figures(
        self, series: Series, records: Sequence[LabelRecord]
    ) -> dict[str, NDArray[np.float64]]:
        """One share per image and metric."""
        return classification.shares(_observe(series, self._plan, records))

    def boundary(self, records: Sequence[LabelRecord]) -> tuple[BoundaryPart, ...]:
        """What changes the label."""
        finite = [r for r in records if _all_finite(r)]
        changes = Changes(
            subject="label changes",
            by_kind={name: _changed(finite, name) for name in self._plan.names},
            aligned=_changed(finite, ALIGNED) if self._plan.measures_alignment else None,
            mean=mean_interval,
            difference=paired_difference,
        )
        return boundary_parts(self._plan, changes)

    def more(self, records: Sequence[LabelRecord]) -> dict[str, Any]:
        """The least stable images."""
        thumbnails = self._options.images
        found = worst_images(self._model, self._dataset, self._plan, records, thumbnails=thumbnails)
        return {"worst": found}

    def samples_csv(self, records: Sequence[LabelRecord]) -> Iterator[str]:
        """One row per image and kind."""
        return samples_csv(self._plan, records)

    def notes(self) -> tuple[str, ...]:
        """That logit errors may be errors of probabilities."""
        if not self._model.outputs_probabilities:
            return ()
        return ("the model returns probabilities, so its logit errors are errors of probabilities",)


def _changed(records: Sequence[LabelRecord], name: str) -> NDArray[np.float64]:
    """Share of the shifts under `name` that change the label, per image."""
    if not records:
        return np.zeros(0)
    changed = predicted_of(records, name) != clean_of(records)[:, None]
    return np.asarray(changed.mean(axis=1))


def _all_finite(record: LabelRecord) -> bool:
    seen = np.frombuffer(record.predicted, np.int32)
    return record.clean != NONFINITE and NONFINITE not in seen


def _observe(
    series: Series, plan: ShiftPlan, records: Sequence[LabelRecord]
) -> classification.Observations:
    """The observations of one series over `records`, none of which may be non-finite in it."""
    labels = [r.label for r in records if r.label is not None]
    offsets = np.empty((len(records), len(plan.offsets(series, 0)), 2), np.int32)
    for row, record in zip(offsets, records, strict=True):  # a list of rows would be as large again
        row[:] = plan.offsets(series, record.index)
    figures = figures_of(records, series.name)
    return classification.Observations(
        offsets=offsets,
        predicted=predicted_of(records, series.name),
        clean=clean_of(records),
        wobble=figures[:, 0],
        logit_error=figures[:, 1],
        labels=np.array(labels, np.int32) if labels and len(labels) == len(records) else None,
    )


def _notes(series: Series, seen: classification.Observations) -> tuple[str, ...]:
    if not series.pair:
        return ()
    equal = int((seen.offsets[:, 0] == seen.offsets[:, 1]).all(axis=1).sum())
    return (
        f"{PROTOCOLS[series.name].meaning}; {equal} of {len(seen.offsets)} pairs were two equal "
        "shifts and count as agreeing, as published",
    )


def _check_accuracy(model: Model, total: int, records: Sequence[LabelRecord]) -> None:
    """Stop when the labels are met no better than by chance: then no other figure means much."""
    classes = 2 if model.num_classes == 1 else model.num_classes or 0
    lost = sum(r.clean == NONFINITE for r in records)
    done = [r for r in records if r.clean != NONFINITE and r.label is not None]
    enough = max(min(_CHECK_AFTER, total - lost), _CHECK_LEAST)
    if classes < 2 or len(done) < enough:
        return
    right = sum(r.clean == r.label for r in done)
    if binomtest(right, len(done), 1 / classes, alternative="greater").pvalue < _CHECK_P:
        return
    raise InputError(
        f"Accuracy is {right} of {len(done)} over {classes} classes, no better than chance: "
        "the preprocessing is probably wrong, or the labels are numbered differently.",
        tip="Check --mean, --std, --preprocess and --labels; --no-accuracy-check goes on anyway.",
    )
