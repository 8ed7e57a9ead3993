"""The part of a `TaskAudit` that segmentation and image-to-image models share."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.boundary import Changes, Views, boundary_parts, views_of
from equiaudit.audit.forward import blank
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import TaskAudit
from equiaudit.data import Dataset
from equiaudit.errors import InputError
from equiaudit.metrics.lattice import px
from equiaudit.models.types import Model
from equiaudit.results import BorderProfile, BoundaryPart, DenseShift, ShiftResult
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.maps.examples import Pictured, Seen, examples, most_changed
from equiaudit.tasks.maps.frames import Frames
from equiaudit.tasks.maps.heat import heat_maps, mean_map
from equiaudit.tasks.maps.outputs import upsampling_of
from equiaudit.tasks.maps.receptive import receptive_field
from equiaudit.tasks.maps.records import MapRecord, MapSeries

Rec = TypeVar("Rec", bound=MapRecord[Any])


def _is_finite(record: MapRecord[Any], name: str) -> bool:
    return record.finite and record.of(name).finite


class MapAudit(TaskAudit[Any], Generic[Rec]):
    """One map per image."""

    smooth: bool
    """Whether its pictures may be scaled by mixing colours."""
    carried: bool = False
    """Whether unshifted outputs are moved by fractions, to be compared."""
    columns: tuple[str, ...]
    """Of samples.csv, after file and kind."""

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        _check_plan(plan)
        super().__init__(model, dataset, plan, options)
        self.frames = Frames(plan.window, model.device, carried=self.carried)
        output = blank(model)
        self.channels = int(output.shape[1])
        self.factor = upsampling_of(model, output)

    @property
    def key(self) -> str:
        """How masks are read, and what is compared."""
        return f"{self.model.task}:{self.truth}"

    def finite(self, records: Sequence[Rec], name: str) -> NDArray[np.bool_]:
        """(n,) whether the unshifted output and all outputs of series `name` were finite."""
        return np.array([_is_finite(r, name) for r in records], np.bool_)

    def shift_result(self, series: Series, records: Sequence[Rec]) -> ShiftResult:
        """The figures, the profile over distance to the border, and the maps."""
        own = [r.of(series.name) for r in records]
        pictures = heat_maps(self.frames, series.name, records) if self.options.images else ()
        dense = DenseShift(
            profile=self.profile(own),
            mean_map=mean_map(self.frames, own),
            heat_maps=pictures,
        )
        result = ShiftResult(kind=series.name, metrics=self.metrics(series, records), dense=dense)
        return result.model_copy(update=self.further(series, records, dense))

    def boundary(self, records: Sequence[Rec]) -> tuple[BoundaryPart, ...]:
        """What causes the changes."""
        finite = [
            r
            for r in records
            if all(_is_finite(r, name) for name in self.plan.names)
            and not any(None in each for each in r.contrasts.values())
        ]
        changes = self.changes(finite)
        return boundary_parts(self.plan, changes)

    def more(self, records: Sequence[Rec]) -> dict[str, Any]:
        """Examples in pictures, and the receptive field."""
        found: dict[str, Any] = {"receptive_field": receptive_field(self.model)}
        if self.options.images:
            found["examples"] = examples(
                self.model,
                self.dataset,
                self.truth,
                self.plan,
                self.frames,
                records,
                self.draw,
                smooth=self.smooth,
            )
        return found

    def gathered(
        self, pictures: Sequence[Mapping[str, Any]], records: Sequence[Rec]
    ) -> dict[str, Any]:
        """The most changed of all are among those of their parts."""
        shown = {(e.kind, e.file): e for each in pictures for e in each["examples"]}
        wanted = [(s.name, r.file) for s in self.plan.series for r in most_changed(s, records)]
        return {
            "receptive_field": next(
                filter(None, (each["receptive_field"] for each in pictures)), None
            ),
            "examples": tuple(shown[key] for key in wanted if key in shown),
        }

    def samples_csv(self, records: Sequence[Rec]) -> Iterator[str]:
        """One row per image and kind; a cell that does not apply is empty."""
        header = ("file", "kind", *self.columns)
        yield ",".join(header) + "\n"
        for record in records:
            out = io.StringIO()
            writer = csv.DictWriter(out, header, lineterminator="\n")
            writer.writerows(self._row(series, record) for series in self.plan.series)
            yield out.getvalue()

    def _row(self, series: Series, record: Rec) -> dict[str, object]:
        own = record.of(series.name)
        lost = len(own.change) if not record.finite else own.change.count(None)
        row: dict[str, object] = {
            "file": record.file,
            "kind": series.name,
            "offsets": len(own.change),
            "nonfinite": lost,
        }
        if lost:
            return row
        dy, dx = self.plan.offsets(series, record.index)[int(own.changes.argmax())]
        return row | {"worst_dy": px(dy), "worst_dx": px(dx)} | self.cells(series, record)

    def by_kind(self, records: Sequence[Rec]) -> dict[str, np.ndarray[Any, Any]]:
        """(n,) mean change of each image, by kind."""
        return {
            name: np.array([r.of(name).changes.mean() for r in records]) for name in self.plan.names
        }

    def views(self, records: Sequence[Rec]) -> dict[str, Views]:
        """The mean changes of the views of contrasts."""

        def mean(name: str) -> NDArray[np.float64]:
            return np.array([np.mean(np.array(r.contrasts[name], np.float64)) for r in records])

        return views_of(self.plan, [r.index for r in records], mean)

    @abstractmethod
    def metrics(self, series: Series, records: Sequence[Rec]) -> dict[str, Any]:
        """Every metric of one series."""

    @abstractmethod
    def profile(self, own: Sequence[MapSeries]) -> BorderProfile:
        """The change by distance to the border."""

    @abstractmethod
    def further(self, series: Series, records: Sequence[Rec], dense: DenseShift) -> dict[str, Any]:
        """Further fields of the `ShiftResult`."""

    @abstractmethod
    def changes(self, records: Sequence[Rec]) -> Changes:
        """What the boundary parts are made of."""

    @abstractmethod
    def draw(self, seen: Seen) -> Pictured:
        """Pictures of one shift."""

    @abstractmethod
    def cells(self, series: Series, record: Rec) -> dict[str, object]:
        """The cells of a row of samples.csv that are the task's own."""


def _check_plan(plan: ShiftPlan) -> None:
    if plan.protocol is not None:
        raise InputError(
            f"The protocol {plan.protocol} compares labels of whole images, and this model "
            "returns maps.",
            tip="Leave --protocol out; --shifts and --max-shift choose the shifts.",
        )
    for series in plan.series:
        reach = series.reach
        if not series.moves.whole and reach >= min(plan.window):
            raise InputError(
                f"{series.kind} shifts of up to {reach} px leave no overlap of two windows of "
                f"{plan.window[0]}x{plan.window[1]}.",
                tip=f"Give --max-shift {min(plan.window) - 1} or less.",
            )
