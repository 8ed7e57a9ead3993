"""The least stable images, with thumbnails of what the model saw."""

from __future__ import annotations

import math

import numpy as np

from equiaudit.audit.geometry import geometry
from equiaudit.audit.pictures import data_uri, views
from equiaudit.audit.shelf import Records
from equiaudit.data import Dataset, Decoded, decode
from equiaudit.models.types import Model
from equiaudit.results import WorstImage
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.classification.records import NONFINITE, LabelRecord
from equiaudit.tasks.classification.samples import flip
from equiaudit.tasks.classification.table import clean_of, predicted_of

_PER_KIND = 6
_THUMBNAIL = 112
"""Longer side of a thumbnail, px."""


def worst_images(
    model: Model,
    dataset: Dataset,
    plan: ShiftPlan,
    records: Records[LabelRecord],
    *,
    thumbnails: bool,
) -> tuple[WorstImage, ...]:
    """Up to 6 images per kind, the one that keeps its label least first."""
    return tuple(
        _worst(model, dataset, plan, series, record, thumbnails)
        for series in plan.series
        for record in _least_stable(series, records)
    )


def _least_stable(series: Series, records: Records[LabelRecord]) -> list[LabelRecord]:
    predicted, clean = predicted_of(records, series.name), clean_of(records)
    stability = (predicted == clean[:, None]).mean(axis=1)
    finite = (clean != NONFINITE) & (predicted != NONFINITE).all(axis=1)
    unstable = np.flatnonzero(finite & (stability < 1))
    order = np.lexsort((records.indices[unstable], stability[unstable]))
    return [records[int(i)] for i in unstable[order[:_PER_KIND]]]


def _worst(
    model: Model,
    dataset: Dataset,
    plan: ShiftPlan,
    series: Series,
    record: LabelRecord,
    thumbnails: bool,
) -> WorstImage:
    own = record.of(series.name)
    found = flip(plan.offsets(series, record.index), own.predicted, record.clean)
    if found is None:
        raise ValueError(f"{record.file} does not flip")
    offset, label = found
    worst = WorstImage(
        file=record.file,
        kind=series.name,
        label=record.label,
        clean_label=record.clean,
        clean_confidence=None if math.isnan(record.confidence) else record.confidence,
        flipped_label=label,
        offset=offset,
        agreement=float((record.labels(series.name) == record.clean).mean()),
    )
    return _with_thumbnails(worst, model, dataset, plan, series, record) if thumbnails else worst


def _with_thumbnails(
    worst: WorstImage,
    model: Model,
    dataset: Dataset,
    plan: ShiftPlan,
    series: Series,
    record: LabelRecord,
) -> WorstImage:
    """The image may be gone or unreadable by now; then it stays without thumbnails."""
    item = dataset.item(record.index)
    image = decode(item, geometry(model.preprocess, series.margin))
    if not isinstance(image, Decoded):
        return worst
    clean, shifted = (
        data_uri(view, _THUMBNAIL) for view in views(image, plan, series, [(0, 0), worst.offset])
    )
    return worst.model_copy(update={"thumbnail_clean": clean, "thumbnail_shifted": shifted})
