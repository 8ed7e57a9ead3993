"""The `TaskAudit` of classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc  # the binomial law; scipy.stats is slow to import

from equiaudit.audit.boundary import Changes, boundary_parts, paired_views, unequal
from equiaudit.audit.jobs import columns_of
from equiaudit.audit.shelf import Records
from equiaudit.audit.task import Source, TaskAudit
from equiaudit.data import Item
from equiaudit.errors import InputError
from equiaudit.metrics import classification
from equiaudit.metrics.intervals import mean_interval
from equiaudit.metrics.paired import paired_difference
from equiaudit.metrics.protocols import of_protocol
from equiaudit.models.types import Model
from equiaudit.results import BoundaryPart, ShiftResult
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.classification.block import LabelBlock
from equiaudit.tasks.classification.order import refuse_another_order
from equiaudit.tasks.classification.records import NONFINITE, LabelRecord
from equiaudit.tasks.classification.samples import samples_csv
from equiaudit.tasks.classification.table import (
    UNKNOWN,
    LabelTable,
    clean_of,
    figures_of,
    labels_of,
    predicted_of,
)
from equiaudit.tasks.classification.worst import worst_images

_CHECK_AFTER = 100
"""Labelled images after which accuracy is compared with chance."""
_CHECK_LEAST = 30
_CHECK_P = 0.01
_NO_SCORES = (
    "the model returns labels without scores, so there is no confidence wobble and no logit error"
)


class LabelAudit(TaskAudit[LabelRecord]):
    """One label per image."""

    record = LabelRecord

    def lost(self, item: Item, reason: str) -> LabelRecord:
        """With the label that the image has."""
        return replace(super().lost(item, reason), label=item.label)

    def open_block(self, sources: Sequence[Source]) -> LabelBlock:
        """Begin with some images."""
        return LabelBlock(
            self.plan,
            sources,
            self.model.outputs_probabilities,
            labels=self.model.outputs_labels,
        )

    def check(self, records: Records[LabelRecord]) -> None:
        """Stop when accuracy is no better than chance."""
        if self.options.accuracy_check:
            _check_accuracy(self.model, len(self.dataset.items), records)
            refuse_another_order(clean_of(records), labels_of(records))

    def shelf(self) -> LabelTable:
        """A packed table."""
        return LabelTable(self.dataset, self.plan)

    def finite(self, records: Records[LabelRecord], name: str) -> NDArray[np.bool_]:
        """(n,) whether the unshifted output and all outputs of series `name` were finite."""
        return _finite(records, name)

    def shift_result(self, series: Series, records: Records[LabelRecord]) -> ShiftResult:
        """Consistency and its kin, and the maps."""
        seen = self._observe(series, records)
        stride = self.plan.stride if not series.pair else None
        return ShiftResult(
            kind=series.name,
            metrics=classification.summarise(seen, seed=self.plan.seed)
            | of_protocol(seen, series.measures),
            agreement_map=classification.agreement_map(seen, series.low, series.high, series.parts),
            phase_map=classification.phase_map(seen, stride, series.parts) if stride else None,
            by_distance=classification.by_distance(seen),
            notes=_notes(series, seen),
        )

    @property
    def bounded(self) -> tuple[str, ...]:
        """Without what needs scores, where the model returns labels."""
        scored = () if self.model.outputs_labels else ("confidence_wobble",)
        return tuple(n for n in classification.SHARES if n != "confidence_wobble") + scored

    def figures(
        self, series: Series, records: Records[LabelRecord]
    ) -> dict[str, NDArray[np.float64]]:
        """One share per image and metric."""
        return classification.shares(self._observe(series, records))

    def _observe(
        self, series: Series, records: Records[LabelRecord]
    ) -> classification.Observations:
        seen = _observe(series, self.plan, records)
        if not self.model.outputs_labels:
            return seen
        return replace(seen, wobble=None, logit_error=None)

    def boundary(self, records: Records[LabelRecord]) -> tuple[BoundaryPart, ...]:
        """What changes the label."""
        names = columns_of(self.plan)
        finite = records.where(np.all([_finite(records, name) for name in names], axis=0))
        changes = Changes(
            subject="label changes",
            by_kind={name: _changed(finite, name) for name in self.plan.names},
            views=paired_views(self.plan, finite.indices, partial(_differ, finite)),
            mean=mean_interval,
            difference=paired_difference,
            beyond=unequal(self.plan, partial(_unequal, finite)),
        )
        return boundary_parts(self.plan, changes)

    def more(self, records: Records[LabelRecord]) -> dict[str, Any]:
        """The least stable images."""
        thumbnails = self.options.images
        found = worst_images(self.model, self.dataset, self.plan, records, thumbnails=thumbnails)
        return {"worst": found}

    def gathered(
        self, pictures: Sequence[Mapping[str, Any]], records: Records[LabelRecord]
    ) -> dict[str, Any]:
        """The least stable of all are among those of their parts."""
        taken = {(w.kind, w.file): w for each in pictures for w in each["worst"]}
        found = worst_images(self.model, self.dataset, self.plan, records, thumbnails=False)
        return {"worst": tuple(taken.get((w.kind, w.file), w) for w in found)}

    def samples_csv(self, records: Records[LabelRecord]) -> Iterator[str]:
        """One row per image and kind."""
        names = self.dataset.class_names or dict(enumerate(self.model.class_names or ()))
        return samples_csv(self.plan, records, names)

    def notes(self, records: Records[LabelRecord]) -> tuple[str, ...]:
        """What logit errors are errors of, or that there are none; few labels no check of them."""
        found = _accuracy(self.model, records)
        notes = () if found is None or not found.too_few else (found.said,)
        if self.model.outputs_labels:
            return (*notes, _NO_SCORES)
        if not self.model.outputs_probabilities:
            return notes
        said = "the model returns probabilities, so its logit errors are errors of probabilities"
        return (*notes, said)


def _changed(records: Records[LabelRecord], name: str) -> NDArray[np.float64]:
    """Share of the shifts under `name` that change the label, per image."""
    if not records:
        return np.zeros(0)
    changed = predicted_of(records, name) != clean_of(records)[:, None]
    return np.asarray(changed.mean(axis=1))


def _differ(records: Records[LabelRecord], name: str, one: int, other: int) -> NDArray[np.bool_]:
    """(n,) whether two passes of `name` give different labels."""
    if not records:
        return np.zeros(0, np.bool_)
    found = predicted_of(records, name)
    return np.asarray(found[:, one] != found[:, other])


def _unequal(records: Records[LabelRecord], one: str, other: str) -> NDArray[np.float64]:
    """(n,) share of the offsets at which two series give different labels."""
    if not records:
        return np.zeros(0)
    return np.asarray((predicted_of(records, one) != predicted_of(records, other)).mean(axis=1))


def _finite(records: Records[LabelRecord], name: str) -> NDArray[np.bool_]:
    whole = (predicted_of(records, name) != NONFINITE).all(axis=1)
    return np.asarray(whole & (clean_of(records) != NONFINITE))


def _observe(
    series: Series, plan: ShiftPlan, records: Records[LabelRecord]
) -> classification.Observations:
    """The observations of one series over `records`, none of which may be non-finite in it."""
    labels = labels_of(records)
    number = np.int16 if series.parts == 1 else np.float64
    offsets = np.empty((len(records), len(plan.offsets(series, 0)), 2), number)
    for row, index in zip(offsets, records.indices, strict=True):
        row[:] = plan.offsets(series, int(index))
    figures = figures_of(records, series.name)
    return classification.Observations(
        offsets=offsets,
        predicted=predicted_of(records, series.name),
        clean=clean_of(records),
        wobble=figures[:, 0],
        logit_error=figures[:, 1],
        labels=labels if len(labels) and UNKNOWN not in labels else None,
    )


def _notes(series: Series, seen: classification.Observations) -> tuple[str, ...]:
    if not series.pair:
        return (series.meaning,) if series.meaning else ()
    equal = int((seen.offsets[:, 0] == seen.offsets[:, 1]).all(axis=1).sum())
    return (
        f"{series.meaning}; {equal} of {len(seen.offsets)} pairs were two equal "
        "shifts and count as agreeing, as published",
    )


def _check_accuracy(model: Model, total: int, records: Records[LabelRecord]) -> None:
    """Stop when the labels are met no better than by chance: then no other figure means much."""
    found = _accuracy(model, records)
    if found is None:
        return
    lost = int((clean_of(records) == NONFINITE).sum())
    if found.done < min(_CHECK_AFTER, total - lost) or found.above_chance or found.too_few:
        return
    raise InputError(
        f"Accuracy is {found.right} of {found.done} over {found.classes} classes, no better than"
        " chance: the preprocessing is probably wrong, or the labels are numbered differently.",
        tip="Check --mean, --std, --preprocess and --labels; --no-accuracy-check goes on anyway.",
    )


@dataclass(frozen=True)
class _Accuracy:
    """How many of `done` labelled images are met, over `classes` classes."""

    right: int
    done: int
    classes: int

    @property
    def above_chance(self) -> bool:
        """By a one-sided binomial test."""
        return bool(bdtrc(self.right - 1, self.done, 1 / self.classes) < _CHECK_P)

    @property
    def too_few(self) -> bool:
        """Whether as few could be met by a model half way between chance and perfect.

        Of fewer than 30 images a good model may be no better than chance by the test above.
        """
        half = (1 + 1 / self.classes) / 2
        likely = bdtr(self.right, self.done, half) >= _CHECK_P
        return bool(self.done < _CHECK_LEAST and not self.above_chance and likely)

    @property
    def said(self) -> str:
        """As a note."""
        return (
            f"accuracy is {self.right} of {self.done} over {self.classes} classes: too few images"
            " to tell from chance, so labels and preprocessing are not checked by it"
        )


def _accuracy(model: Model, records: Records[LabelRecord]) -> _Accuracy | None:
    """None where there are no labels or classes to speak of."""
    classes = 2 if model.num_classes == 1 else model.num_classes or 0
    clean, labels = clean_of(records), labels_of(records)
    done = int(((clean != NONFINITE) & (labels != UNKNOWN)).sum())
    if classes < 2 or not done:
        return None
    return _Accuracy(int((clean == labels).sum()), done, classes)
