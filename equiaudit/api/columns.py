"""What `fix` adds from data: both models scanned, accuracy held, choices of crops counted."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.api.box_losses import changed_boxes
from equiaudit.api.loading import load_model
from equiaudit.api.losses import changed_pixels, loss_between
from equiaudit.api.room import fitting, has_room, named, sources
from equiaudit.audit.observer import Observer
from equiaudit.audit.options import ScanOptions
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from equiaudit.audit.assemble import Scan
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.results import Estimate
    from equiaudit.results.loss import Loss
    from equiaudit.results.repair import Agreement, Borders, FixReport


@dataclass(frozen=True)
class BeforeAfter:
    """Both models on the same images and shifts."""

    model: Model
    dataset: Dataset
    options: ScanOptions
    folder: Path | None
    observer: Observer

    def added_to(self, report: FixReport, allowed: float) -> FixReport:
        """`report` with both columns, and held against the accuracy it may lose."""
        declared = TASKS[self.model.task].declared
        if report.output is None or (declared and report.outcome != "written"):
            return report  # what tells how boxes are read lies beside a file that verified
        stride = report.inspection.total_stride or self.model.total_stride
        size = report.input_size or self.model.preprocess.size
        before = replace(self.model, total_stride=stride)
        fixed = load_model(
            report.output,
            stride=stride,
            device=str(self.model.device),
            size=size,
            task=self.model.task,
            threshold=self.model.threshold,
            output_layout=self.model.output_layout,
        )
        after = replace(fixed, class_names=self.model.class_names)
        options, notes = fitting(
            self.dataset,
            (before.preprocess, after.preprocess),
            self.options,
            crop_counts=bool(report.agreement),
        )
        unchecked = replace(options, accuracy_check=False)  # a ruined net is a finding here
        first, then = self._scan(before, options, "before"), self._scan(after, unchecked, "after")
        full = report.model_copy(
            update={
                "before": first.figures,
                "after": then.figures,
                "loss": self._loss(first, then, before, after, allowed),
                "images": len(self.dataset.items),
                "agreement": self._agreement(report, before, after),
                "borders": self._borders(report, after),
                "notes": (*report.notes, *notes),
            }
        )
        return held(full)

    def _loss(
        self, first: Seen, then: Seen, before: Model, after: Model, allowed: float
    ) -> Loss | None:
        if TASKS[self.model.task].declared:
            return changed_boxes(before, after, self.dataset)
        return loss_between(
            self.model.task,
            first.records,
            then.records,
            labelled=self.dataset.labelled,
            pixels=partial(changed_pixels, before, after, self.dataset),
            allowed=allowed,
            seed=self.options.seed,
        )

    def _agreement(self, report: FixReport, before: Model, after: Model) -> tuple[Agreement, ...]:
        """The rows, measured as far as the images reach beyond the larger input."""
        from equiaudit.models.outputs import model_labels
        from equiaudit.repair.verify.real_shifts import REACH, measured

        rows = report.agreement
        if not rows or not has_room(self.dataset, after.preprocess, REACH):
            return rows
        self.observer.note(f"moving the images by 1 to {REACH} px for real")
        size, task = after.preprocess.size, TASKS[self.model.task]
        return measured(
            rows,
            before.run,
            after.run,
            sources(self.dataset, after.preprocess, REACH),
            margin=size[0] - before.preprocess.size[0],
            size=size,
            labels=partial(model_labels, self.model) if task.scores and not task.maps else None,
        )

    def _borders(self, report: FixReport, after: Model) -> Borders | None:
        """Of all images, where the fixed model rolls its input."""
        from equiaudit.repair.verify.borders import borders_of

        if not any(record.borders for record in report.verifications):
            return None
        return borders_of(named(self.dataset, after.preprocess))

    def _scan(self, model: Model, options: ScanOptions, name: str) -> Seen:
        from equiaudit.audit.engine import run_scan
        from equiaudit.report import write_reports

        self.observer.note(f"scanning the model {name}")
        home = None if self.folder is None else self.folder / name
        done, journal = run_scan(model, self.dataset, options, folder=home, observer=self.observer)
        if home is not None:
            write_reports(done.result, home, samples_csv=done.rows())
        journal.discard()
        return Seen(figures_of(done), tuple(journal.records.values()))


@dataclass(frozen=True)
class Seen:
    """What a scan found."""

    figures: dict[str, Estimate]
    records: tuple[Any, ...]


def figures_of(scan: Scan) -> dict[str, Estimate]:
    """Every metric of a scan, by ``<kind>.<metric>``."""
    return {name: scan.result.metric(name) for name in scan.result.metric_names()}


def held(report: FixReport) -> FixReport:
    """`report`, its file renamed where more accuracy was lost than is allowed."""
    loss = report.loss
    if loss is None or loss.verdict != "lost" or report.outcome != "written":
        return report
    places = [Path(place) for place in (*report.companions, report.output or "")]
    for place in places:
        os.replace(place, f"{place}.unverified")
    moved = {
        "outcome": "unverified",
        "reason": f"It loses more than the {percent(loss.allowed or 0.0)} allowed",
        "output": f"{places[-1]}.unverified",
        "companions": tuple(f"{place}.unverified" for place in places[:-1]),
    }
    return report.model_copy(update=moved)


def percent(share: float) -> str:
    """``1 point``, ``0.5 points``."""
    return "1 point" if share == 0.01 else f"{100 * share:g} points"
