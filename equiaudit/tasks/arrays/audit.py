"""The part of a `TaskAudit` that all share whose records are small arrays."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.boundary import Changes, boundary_parts, views_of
from equiaudit.audit.jobs import columns_of
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import TaskAudit
from equiaudit.data import Dataset
from equiaudit.errors import InputError
from equiaudit.metrics.dense import mean_difference
from equiaudit.metrics.intervals import bca_interval
from equiaudit.metrics.lattice import px
from equiaudit.models.types import Model
from equiaudit.results import BoundaryPart, Estimate, PartFigures, ShiftResult
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks import TASKS
from equiaudit.tasks.arrays.records import FINITE, ArrayRecord

Floats = NDArray[np.float64]
Recs = Sequence[ArrayRecord]

_MOST_PARTS = 32
"""Single outputs that a result lists: intervals of thousands would take longer than the scan."""


class ArrayAudit(TaskAudit[ArrayRecord]):
    """Some numbers, or some places, per image."""

    subject: ClassVar[str]
    """Of causes, as in "changes of the output"."""
    columns: ClassVar[tuple[str, ...]]
    """Of samples.csv, the task's own."""
    record = ArrayRecord

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        _check(model, plan, options)
        super().__init__(model, dataset, plan, options)
        self._places = columns_of(plan)

    @property
    def key(self) -> str:
        """What is compared."""
        return self.model.task

    def passes(self, record: ArrayRecord, array: str, name: str) -> NDArray[Any]:
        """(K, ...) rows of an array under series `name`."""
        return record.arrays[array][1:][self._places[name]]

    def stacked(self, records: Recs, array: str, name: str) -> NDArray[Any]:
        """(n, K, ...) the same of several records, at least one."""
        return np.stack([self.passes(record, array, name) for record in records])

    def finite(self, records: Recs, name: str) -> NDArray[np.bool_]:
        """(n,) whether the unshifted output and all outputs of series `name` were finite."""
        return np.array([self._lost(r, name) == 0 for r in records], np.bool_)

    def _lost(self, record: ArrayRecord, name: str) -> int:
        """Shifts without a comparison."""
        own = self.passes(record, FINITE, name)
        return int((~own).sum()) if record.arrays[FINITE][0] else len(own)

    def shift_result(self, series: Series, records: Recs) -> ShiftResult:
        """The figures, of all outputs together and of each."""
        return ShiftResult(
            kind=series.name,
            metrics=self.metrics(series, records),
            parts=self.parts(series, records),
        )

    def boundary(self, records: Recs) -> tuple[BoundaryPart, ...]:
        """What causes the changes."""
        names = columns_of(self.plan)
        whole = [r for r in records if all(self._lost(r, name) == 0 for name in names)]
        each = {name: self._changes(whole, name) for name in names}
        kept = np.all([np.isfinite(values) for values in each.values()], axis=0)
        each = {name: values[kept] for name, values in each.items()}
        indices = [r.index for r, known in zip(whole, kept, strict=True) if known]
        changes = Changes(
            subject=self.subject,
            by_kind={name: each[name] for name in self.plan.names},
            views=views_of(self.plan, indices, each.__getitem__),
            mean=bca_interval,
            difference=mean_difference,
        )
        return boundary_parts(self.plan, changes)

    def _changes(self, records: Recs, name: str) -> Floats:
        """(n,) mean change of each image under series `name`; NaN where none was compared."""
        return np.array([_mean(self.change(r, name)) for r in records], np.float64)

    def samples_csv(self, records: Recs) -> Iterator[str]:
        """One row per image and kind; a cell that does not apply is empty."""
        header = ("file", "kind", "offsets", *self.columns, "worst_dy", "worst_dx", "nonfinite")
        yield ",".join(header) + "\n"
        for record in records:
            out = io.StringIO()
            writer = csv.DictWriter(out, header, lineterminator="\n")
            writer.writerows(self._row(series, record) for series in self.plan.series)
            yield out.getvalue()

    def _row(self, series: Series, record: ArrayRecord) -> dict[str, object]:
        lost = self._lost(record, series.name)
        change = self.change(record, series.name)
        row: dict[str, object] = {
            "file": record.file,
            "kind": series.name,
            "offsets": len(change),
            "nonfinite": lost,
        }
        if lost:
            return row
        if np.isfinite(change).any():
            dy, dx = self.plan.offsets(series, record.index)[int(np.nanargmax(change))].tolist()
            row |= {"worst_dy": px(dy), "worst_dx": px(dx)}
        return row | {n: _cell(v) for n, v in self.cells(series, record).items()}

    def parts(self, series: Series, records: Recs) -> tuple[PartFigures, ...]:
        """Single outputs, where there are several."""
        return ()

    def listed(
        self, changes: Floats, figures: Callable[[int], dict[str, Estimate]]
    ) -> tuple[PartFigures, ...]:
        """The outputs that change most by `changes` (P,), with the figures of each."""
        if len(changes) < 2:
            return ()
        order = np.argsort(-np.nan_to_num(changes, nan=-1.0), kind="stable")[:_MOST_PARTS]
        part = getattr(TASKS[self.model.task], "part", "output")
        names = self.dataset.class_names
        return tuple(
            PartFigures(name=names.get(p, f"{part} {p}"), metrics=figures(p))
            for p in order.tolist()
        )

    @abstractmethod
    def change(self, record: ArrayRecord, name: str) -> Floats:
        """(K,) how much the output of a finite record changes; NaN where nothing tells."""

    @abstractmethod
    def metrics(self, series: Series, records: Recs) -> dict[str, Estimate]:
        """Every metric of one series."""

    @abstractmethod
    def cells(self, series: Series, record: ArrayRecord) -> dict[str, object]:
        """The cells of a row of samples.csv that are the task's own."""


def _check(model: Model, plan: ShiftPlan, options: ScanOptions) -> None:
    returned = TASKS[model.task].returns
    if plan.protocol is not None:
        raise InputError(
            f"The protocol {plan.protocol} compares labels of whole images, and this model "
            f"returns {returned}.",
            tip="Leave --protocol out; --shifts and --max-shift choose the shifts.",
        )
    if options.output_range is not None:
        raise InputError(
            f"--output-range is of images, and {model.name} returns {returned}.",
            tip="Leave it out.",
        )


def mean_of(values: Floats, seed: int) -> Estimate:
    """The mean of figures (n,) with its interval; images without one do not count."""
    return bca_interval(values[np.isfinite(values)], seed=seed)


def root_of(squares: Floats, seed: int) -> Estimate:
    """The root of the mean of squares (n,): bounds move with it, as it is monotone."""
    found = mean_of(squares, seed)
    ends = {name: getattr(found, name) for name in ("value", "low", "high")}
    return found.model_copy(
        update={name: None if end is None else float(end) ** 0.5 for name, end in ends.items()}
    )


def percentile(values: NDArray[Any], images: int) -> Estimate:
    """The 95th percentile of all finite values, without an interval."""
    known = values[np.isfinite(values)]
    value = float(np.quantile(known, 0.95)) if known.size else None
    return Estimate(value=value, n=images if known.size else 0, method="none")


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _cell(value: object) -> object:
    if not isinstance(value, float):
        return value
    return repr(value) if np.isfinite(value) else ""
