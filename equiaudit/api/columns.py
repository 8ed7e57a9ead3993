"""What `fix` adds from data: both models scanned, accuracy held, choices of crops counted."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.api.loading import load_model
from equiaudit.api.room import fitting, has_room, named, sources
from equiaudit.audit.observer import Observer
from equiaudit.audit.options import ScanOptions
from equiaudit.tasks import TASKS, metric_info
from equiaudit.tasks.columns import accuracy_name

if TYPE_CHECKING:
    from equiaudit.audit.assemble import Scan
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.results import Estimate
    from equiaudit.results.repair import Agreement, Borders, FixReport


@dataclass(frozen=True)
class BeforeAfter:
    """Both models on the same images and shifts."""

    model: Model
    dataset: Dataset
    options: ScanOptions
    folder: Path | None
    observer: Observer

    def added_to(self, report: FixReport, max_accuracy_drop: float | None) -> FixReport:
        """`report` with both columns, and held against the accuracy it may lose."""
        if report.output is None:
            return report
        stride = report.inspection.total_stride or self.model.total_stride
        size = report.input_size or self.model.preprocess.size
        before = replace(self.model, total_stride=stride)
        fixed = load_model(
            report.output,
            stride=stride,
            device=str(self.model.device),
            size=size,
            task=self.model.task,
            output_layout=self.model.output_layout,
        )
        after = replace(fixed, class_names=self.model.class_names)
        options, notes = fitting(
            self.dataset,
            (before.preprocess, after.preprocess),
            self.options,
            crop_counts=bool(report.agreement),
        )
        full = report.model_copy(
            update={
                "before": figures_of(self._scan(before, options, "before")),
                "after": figures_of(self._scan(after, options, "after")),
                "agreement": self._agreement(report, before, after),
                "borders": self._borders(report, after),
                "notes": (*report.notes, *notes),
            }
        )
        return full if max_accuracy_drop is None else held(full, max_accuracy_drop)

    def _agreement(self, report: FixReport, before: Model, after: Model) -> tuple[Agreement, ...]:
        """The rows, measured as far as the images reach beyond the larger input."""
        from equiaudit.repair.real_shifts import REACH, measured

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
            classification=task.scores and not task.maps,
        )

    def _borders(self, report: FixReport, after: Model) -> Borders | None:
        """Of all images, where the fixed model rolls its input."""
        from equiaudit.repair.borders import borders_of

        if not any(record.borders for record in report.verifications):
            return None
        return borders_of(named(self.dataset, after.preprocess))

    def _scan(self, model: Model, options: ScanOptions, name: str) -> Scan:
        from equiaudit.audit.engine import run_scan
        from equiaudit.report import write_reports

        self.observer.note(f"scanning the model {name}")
        home = None if self.folder is None else self.folder / name
        done, journal = run_scan(model, self.dataset, options, folder=home, observer=self.observer)
        if home is not None:
            write_reports(done.result, home, samples_csv=done.rows())
        journal.discard()
        return done


def figures_of(scan: Scan) -> dict[str, Estimate]:
    """Every metric of a scan, by ``<kind>.<metric>``."""
    return {name: scan.result.metric(name) for name in scan.result.metric_names()}


def held(report: FixReport, most: float) -> FixReport:
    """`report`, its file renamed where the unshifted accuracy fell by more than `most`."""
    name = accuracy_name(report.before)
    if name is None or report.outcome != "written":
        return report
    before, after = (float(column[name]) for column in (report.before, report.after))
    if before - after <= most:
        return report
    places = [Path(place) for place in (*report.companions, report.output or "")]
    for place in places:
        os.replace(place, f"{place}.unverified")
    what = metric_info(name).accuracy
    reason = f"{what} fell from {before:.1%} to {after:.1%}, by more than {most:.2%}"
    moved = {
        "outcome": "unverified",
        "reason": reason,
        "output": f"{places[-1]}.unverified",
        "companions": tuple(f"{place}.unverified" for place in places[:-1]),
    }
    return report.model_copy(update=moved)
