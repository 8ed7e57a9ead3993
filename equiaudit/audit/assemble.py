"""From the records of all images to a `Result` and the rows of samples.csv."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from equiaudit._version import __version__
from equiaudit.audit.boundary import boundary
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.records import NONFINITE, ImageRecord
from equiaudit.audit.samples import samples_csv
from equiaudit.audit.worst import worst_images
from equiaudit.data import Dataset
from equiaudit.errors import InputError, RunError
from equiaudit.metrics import classification
from equiaudit.models.types import Model
from equiaudit.results import Fingerprint, Result, ShiftResult, Skipped, Timings
from equiaudit.shifts import PROTOCOLS, Series, ShiftPlan

__all__ = ["Scan", "assemble", "observe"]


@dataclass(frozen=True)
class Scan:
    """What a scan leaves: the result, and one csv row per image and kind."""

    result: Result
    samples: str


def assemble(
    model: Model,
    dataset: Dataset,
    plan: ShiftPlan,
    options: ScanOptions,
    records: Sequence[ImageRecord],
    settings: dict[str, Any],
    timings: Timings,
) -> Scan:
    """`records` in any order, one per image of the dataset; the result does not depend on it."""
    records = sorted(records, key=lambda r: r.index)
    read = [r for r in records if r.unreadable is None]
    if not read:
        raise InputError(
            f"None of the {len(records)} images could be read; the first is "
            f"{records[0].file}: {records[0].unreadable}."
        )
    shifts = {s.name: _shift_result(s, plan, read) for s in plan.series}
    result = Result(
        tool_version=__version__,
        settings=settings,
        fingerprint=_fingerprint(model, dataset, plan, records),
        labelled=dataset.labelled,
        class_names=_names(model, dataset),
        shifts=shifts,
        boundary=boundary(plan, read),
        worst=worst_images(model, dataset, plan, read, thumbnails=options.images),
        unreadable=tuple(
            Skipped(name=r.file, reason=r.unreadable) for r in records if r.unreadable is not None
        ),
        notes=(*model.notes, *_output_notes(model), *dataset.notes, *_decoding_notes(read)),
        timings=timings,
    )
    return Scan(result, samples_csv(plan, read))


def _output_notes(model: Model) -> tuple[str, ...]:
    if not model.outputs_probabilities:
        return ()
    return ("the model returns probabilities, so its logit errors are errors of probabilities",)


def _decoding_notes(records: Sequence[ImageRecord]) -> list[str]:
    counts = Counter(note for r in records for note in r.notes)
    return [f"{note} ({n} {'image' if n == 1 else 'images'})" for note, n in counts.items()]


def observe(
    series: Series, plan: ShiftPlan, records: Sequence[ImageRecord]
) -> classification.Observations:
    """The observations of one series over `records`, none of which may be non-finite in it."""
    own = [r.series[series.name] for r in records if r.series is not None]
    labels = [r.label for r in records if r.label is not None]
    count = len(plan.offsets(series, 0))
    return classification.Observations(
        offsets=_stack([plan.offsets(series, r.index) for r in records], (count, 2)),
        predicted=_stack([s.predicted for s in own], (count,)),
        clean=np.array([r.clean for r in records], np.int64),
        wobble=np.array([s.wobble for s in own], np.float64),
        logit_error=np.array([s.logit_error for s in own], np.float64),
        labels=np.array(labels, np.int64) if labels and len(labels) == len(records) else None,
    )


def _stack(rows: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(rows, np.int64).reshape(len(rows), *shape)


def is_finite(record: ImageRecord, name: str) -> bool:
    """Whether the unshifted output and all outputs of series `name` were finite."""
    own = record.series[name].predicted if record.series else (NONFINITE,)
    return record.clean != NONFINITE and NONFINITE not in own


def _shift_result(series: Series, plan: ShiftPlan, records: Sequence[ImageRecord]) -> ShiftResult:
    finite = [r for r in records if is_finite(r, series.name)]
    if not finite:
        raise RunError(
            f"The model's outputs under {series.name} shifts are NaN or infinite for all "
            f"{len(records)} images, so there is nothing to average.",
            tip="Check the preprocessing, or try --device cpu and a float32 model.",
        )
    seen = observe(series, plan, finite)
    stride = plan.stride if not series.pair else None
    return ShiftResult(
        kind=series.name,
        metrics=classification.summarise(seen, seed=plan.seed),
        agreement_map=classification.agreement_map(seen, series.low, series.high),
        phase_map=classification.phase_map(seen, stride) if stride else None,
        by_distance=classification.by_distance(seen),
        nonfinite=tuple(r.file for r in records if not is_finite(r, series.name)),
        notes=_notes(series, seen),
    )


def _notes(series: Series, seen: classification.Observations) -> tuple[str, ...]:
    if not series.pair:
        return ()
    equal = int((seen.offsets[:, 0] == seen.offsets[:, 1]).all(axis=1).sum())
    return (
        f"{PROTOCOLS[series.name].meaning}; {equal} of {len(seen.offsets)} pairs were two equal "
        "shifts and count as agreeing, as published",
    )


def _names(model: Model, dataset: Dataset) -> dict[int, str]:
    if dataset.class_names:
        return dict(dataset.class_names)
    return dict(enumerate(model.class_names or ()))


def _fingerprint(
    model: Model, dataset: Dataset, plan: ShiftPlan, records: Sequence[ImageRecord]
) -> Fingerprint:
    digest = hashlib.sha256()
    for r in records:
        digest.update(f"{len(r.file)}:{r.file}:{r.label}:{r.sha256}\n".encode())
    return Fingerprint(
        model=model.name,
        model_sha256=model.sha256,
        model_kind=model.kind,
        data_sha256=digest.hexdigest(),
        n_images=len(records),
        preprocess=asdict(model.preprocess),
        plan=plan.describe(),
        plan_hash=plan.hash,
        task=model.task,
        backend=model.backend,
        dtype=model.preprocess.dtype,
        device=str(model.device),
        trusted=model.trusted,
    )
