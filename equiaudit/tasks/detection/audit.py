"""The `TaskAudit` of detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.boundary import Changes, boundary_parts, views_of
from equiaudit.audit.jobs import columns_of
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.shelf import Records
from equiaudit.audit.task import Source, TaskAudit
from equiaudit.data import Dataset
from equiaudit.errors import InputError
from equiaudit.kinds import Kind
from equiaudit.metrics.intervals import mean_interval
from equiaudit.metrics.paired import paired_difference
from equiaudit.models.detectors import MOST_BOXES
from equiaudit.models.types import Model
from equiaudit.results import BoundaryPart, BoxShift, Estimate, ShiftResult
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks import TASKS
from equiaudit.tasks.detection.against import precision_figures, unlike
from equiaudit.tasks.detection.block import BoxBlock
from equiaudit.tasks.detection.bounds import bounds
from equiaudit.tasks.detection.examples import examples, least_stable
from equiaudit.tasks.detection.figures import (
    BOUNDED,
    by_distance,
    figures_of,
    grid_maps,
    jitter_by_distance,
    jitter_maps,
    shares_of,
    unkept,
    unstable,
)
from equiaudit.tasks.detection.records import BoxRecord
from equiaudit.tasks.detection.samples import samples_csv

_FEWEST = 30
"""Annotated boxes before none found says something."""
_NONE_AFTER = 100
"""Images after which a detector that has found nothing is not run further."""


class DetectionAudit(TaskAudit[BoxRecord]):
    """Boxes compared with boxes."""

    record = BoxRecord
    bounded = BOUNDED
    """Images without boxes have no figure, and are no draws."""

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        if plan.protocol is not None:
            _check_protocol(plan.protocol, model, dataset)
        for series in plan.series:
            if type(series.moves).back is not Kind.back:
                raise InputError(f"How boxes move back under {series.kind} shifts is not known.")

    @property
    def key(self) -> str:
        """Whether boxes are held against known ones."""
        return f"known:{self.dataset.truth is not None}"

    def open_block(self, sources: Sequence[Source]) -> BoxBlock:
        """Begin with some images."""
        return BoxBlock(self.plan, sources, self.model)

    def check(self, records: Records[BoxRecord]) -> None:
        """Stop where nothing is found on any image, or nothing that is there."""
        read = records.readable
        self._check_labels(read)
        if len(read) < min(_NONE_AFTER, len(self.dataset.items) - (len(records) - len(read))):
            return
        found = any(s.finite and s.total("found") for r in read for s in _all(r))
        finite = any(s.finite for r in read for s in _all(r))
        if finite and not found and not any(r.boxes for r in read):
            raise InputError(
                f"{self.model.name} finds nothing on any of {len(read)} images, unshifted or"
                f" shifted ({self.model.reading}).",
                tip="A lower score_threshold finds more; also check size, mean, std and channels.",
            )

    def _check_labels(self, read: Sequence[BoxRecord]) -> None:
        if not self.options.accuracy_check:
            return
        objects, near, found = unlike(read)
        if objects < _FEWEST or found:
            return
        over = f"Over {len(read)} images with {objects} annotated boxes {self.model.name}"
        tip = "--no-accuracy-check goes on anyway; --layout images takes the images alone."
        if near >= objects / 4:
            raise InputError(
                f"{over} finds {near}, and none under its class: its labels are counted otherwise"
                " than the annotations.",
                tip=f"--class-names FILE names its labels in their order. {tip}",
            )
        raise InputError(
            f"{over} finds none: the preprocessing, how boxes are read, or the labels are"
            " probably wrong.",
            tip=f"Check --size, --mean, --std, fit, and the units of boxes. {tip}",
        )

    def finite(self, records: Records[BoxRecord], name: str) -> NDArray[np.bool_]:
        """(n,) whether the unshifted output and all outputs of series `name` were finite."""
        return np.array([r.of(name).finite for r in records], np.bool_)

    def figures(
        self, series: Series, records: Records[BoxRecord]
    ) -> dict[str, NDArray[np.float64]]:
        """One share per image that has boxes."""
        return shares_of([record.of(series.name) for record in records])

    def shift_result(self, series: Series, records: Records[BoxRecord]) -> ShiftResult:
        """The metrics, and boxes kept by offset, phase and distance."""
        own = [r.of(series.name) for r in records]
        whole, phases = grid_maps(self.plan, series, records)
        metrics = figures_of(own, seed=self.plan.seed) | precision_figures(records, series.name)
        if series.measures:
            metrics |= bounds(records, series.name)
        return ShiftResult(
            kind=series.name,
            metrics=metrics,
            agreement_map=whole,
            phase_map=phases,
            by_distance=by_distance(self.plan, series, records),
            boxes=self._boxes(series, records),
            notes=(_counted(records, series.name), *_moving(metrics)),
        )

    def _boxes(self, series: Series, records: Records[BoxRecord]) -> BoxShift:
        whole, phases = jitter_maps(self.plan, series, records)
        names = dict(self.dataset.class_names or enumerate(self.model.class_names or ()))
        return BoxShift(
            objects=unstable(records, series.name, names),
            jitter_by_distance=jitter_by_distance(self.plan, series, records),
            jitter_map=whole,
            jitter_phase_map=phases,
        )

    def boundary(self, records: Records[BoxRecord]) -> tuple[BoundaryPart, ...]:
        """What loses boxes or relabels them."""
        names = columns_of(self.plan)
        finite = records.where(np.all([self.finite(records, name) for name in names], axis=0))
        has = np.array([all(r.of(n).total("counted") for n in names) for r in finite], np.bool_)
        told = finite.where(has) if len(finite) else finite
        changes = Changes(
            subject="boxes that are not kept",
            by_kind={name: unkept(told, name) for name in self.plan.names},
            views=views_of(self.plan, [r.index for r in told], partial(unkept, told)),
            mean=mean_interval,
            difference=paired_difference,
        )
        return boundary_parts(self.plan, changes)

    def more(self, records: Records[BoxRecord]) -> dict[str, Any]:
        """The least stable images in pictures."""
        if not self.options.images:
            return {}
        return {"box_examples": examples(self.model, self.dataset, self.plan, records)}

    def gathered(
        self, pictures: Sequence[Mapping[str, Any]], records: Records[BoxRecord]
    ) -> dict[str, Any]:
        """The least stable of all are among those of their parts."""
        shown = {(e.kind, e.file): e for each in pictures for e in each["box_examples"]}
        wanted = [(s.name, r.file) for s in self.plan.series for r in least_stable(s, records)]
        return {"box_examples": tuple(shown[key] for key in wanted if key in shown)}

    def samples_csv(self, records: Records[BoxRecord]) -> Iterator[str]:
        """One row per image and kind."""
        return samples_csv(self.plan, records)

    def notes(self, records: Records[BoxRecord]) -> tuple[str, ...]:
        """How many boxes there are, and what is odd about them."""
        boxes, bare = sum(r.boxes for r in records), sum(not r.boxes for r in records)
        notes = [f"{_boxes(boxes)} on {_images(len(records))} unshifted; {bare} have none"]
        inverted, outside = (sum(getattr(r, n) for r in records) for n in ("inverted", "outside"))
        if inverted:
            several = sum(r.inverted > 0 for r in records)
            notes.append(
                f"{_boxes(inverted)} of {_images(several)} have x2 < x1 or y2 < y1: they have no"
                " area, overlap nothing, and count as lost"
            )
        if outside:
            several = sum(r.outside > 0 for r in records)
            notes.append(f"{_boxes(outside)} of {_images(several)} lie outside their window")
        full = sum(r.full for r in records)
        if full:
            notes.append(
                f"{full} outputs hold {MOST_BOXES} boxes, the most that are kept: those of lower"
                " scores are not compared"
            )
        return tuple(notes)


def _check_protocol(name: str, model: Model, dataset: Dataset) -> None:
    if name not in TASKS.named(model.task).protocols:
        raise InputError(
            f"The protocol {name} compares labels of whole images, and {model.name} returns boxes.",
            tip="Leave --protocol out; --shifts and --max-shift choose the shifts.",
        )
    if dataset.truth is None:
        raise InputError(
            f"The protocol {name} bounds AP, and no boxes are annotated in {dataset.root}.",
            tip="docs/detection.md lists the layouts of annotated boxes.",
        )


def _all(record: BoxRecord) -> list[Any]:
    return list((record.series or {}).values())


def _counted(records: Sequence[BoxRecord], name: str) -> str:
    counted, apart = (sum(r.of(name).total(n) for r in records) for n in ("counted", "apart"))
    return (
        f"{counted:,} unshifted boxes compared over all shifts; {apart:,} counted apart, as a"
        " border of the windows cuts them"
    )


def _moving(metrics: Mapping[str, Estimate]) -> tuple[str, ...]:
    median, most = (metrics[name].value for name in ("jitter_median", "jitter_p95"))
    if median is None or most is None:
        return ()
    if most == 0:
        return ("of 100 kept boxes 95 or more stay where their object is, to the last digit",)
    return (
        f"half of the kept boxes move against their object by {median:.2g} px at most, 5 in 100 by"
        f" {most:.2g} px or more",
    )


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count:,} boxes"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
