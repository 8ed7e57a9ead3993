"""From the records of all images to a `Result` and the rows of samples.csv."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from equiaudit._version import __version__
from equiaudit.audit.records import ImageRecord
from equiaudit.audit.shelf import Records
from equiaudit.audit.task import R, TaskAudit
from equiaudit.data import Dataset
from equiaudit.errors import InputError, RunError
from equiaudit.models.types import Model
from equiaudit.results import Fingerprint, Result, ShiftResult, Skipped, Timings
from equiaudit.shifts import Series, ShiftPlan


@dataclass(frozen=True)
class Scan:
    """What a scan leaves: the result, and one csv row per image and kind."""

    result: Result
    rows: Callable[[], Iterator[str]]
    """The text of samples.csv, made anew in pieces of whole rows."""

    @property
    def samples(self) -> str:
        """The whole of it."""
        return "".join(self.rows())


def assemble(
    task: TaskAudit[R],
    model: Model,
    dataset: Dataset,
    plan: ShiftPlan,
    records: Records[R],
    settings: dict[str, Any],
    timings: Timings,
    more: Mapping[str, Any] | None = None,
) -> Scan:
    """`records` in any order, one per image of the dataset; the result does not depend on it.

    `more` is in place of the task's own, for one that has neither model nor images.
    """
    records = records.by_index()
    read = records.readable
    if not read:
        raise InputError(
            f"None of the {len(records)} images could be read; the first is "
            f"{records[0].file}: {records[0].unreadable}."
        )
    result = Result(
        tool_version=__version__,
        settings=settings,
        fingerprint=_fingerprint(model, dataset, plan, records, len(records)),
        layout=dataset.layout,
        labelled=dataset.labelled,
        class_names=_names(model, dataset),
        shifts={s.name: _shift_result(task, s, read) for s in plan.series},
        boundary=task.boundary(read),
        unreadable=tuple(
            Skipped(name=r.file, reason=r.unreadable) for r in records if r.unreadable is not None
        ),
        notes=(*model.notes, *task.notes(read), *dataset.notes, *_decoding_notes(read)),
        timings=timings,
        **(task.more(read) if more is None else more),
    )
    return Scan(result, partial(task.samples_csv, read))


def _decoding_notes(records: Iterable[ImageRecord]) -> list[str]:
    counts = Counter(note for r in records for note in r.notes)
    return [f"{note} ({n} {'image' if n == 1 else 'images'})" for note, n in counts.items()]


def _shift_result(task: TaskAudit[R], series: Series, records: Records[R]) -> ShiftResult:
    finite = task.finite(records, series.name)
    if not finite.any():
        raise RunError(
            f"The model's outputs under {series.name} shifts are NaN or infinite for all "
            f"{len(records)} images, so there is nothing to average.",
            tip="Check the preprocessing, or try --device cpu and a float32 model.",
        )
    lost = tuple(r.file for r in records.where(~finite))
    return task.shift_result(series, records.where(finite)).model_copy(update={"nonfinite": lost})


def _names(model: Model, dataset: Dataset) -> dict[int, str]:
    if dataset.class_names:
        return dict(dataset.class_names)
    return dict(enumerate(model.class_names or ()))


def _fingerprint(
    model: Model, dataset: Dataset, plan: ShiftPlan, records: Iterable[ImageRecord], n: int
) -> Fingerprint:
    digest = hashlib.sha256()
    for r in records:
        digest.update(f"{len(r.file)}:{r.file}:{r.truth}:{r.sha256}\n".encode())
    return Fingerprint(
        model=model.name,
        model_sha256=model.sha256,
        model_kind=model.kind,
        data_sha256=digest.hexdigest(),
        n_images=n,
        preprocess=model.preprocess.plain,
        plan=plan.describe(),
        plan_hash=plan.hash,
        task=model.task,
        backend=model.backend,
        dtype=model.preprocess.dtype,
        device=str(model.device),
        detector=dict(model.detector),
        trusted=model.trusted,
    )
