"""A task that the package does not know: one number per image, such as a count."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from equiaudit.audit.boundary import Changes, boundary_parts, views_of
from equiaudit.audit.records import ImageRecord
from equiaudit.audit.shelf import Pile
from equiaudit.data import open_dataset
from equiaudit.metrics.dense import mean_difference
from equiaudit.metrics.intervals import bca_interval
from equiaudit.results import MetricInfo, ShiftResult
from equiaudit.tasks import Task, TruthWords
from equiaudit.tasks.base import Measure
from equiaudit.tasks.sections import Name, Section

DRIFT = MetricInfo(
    "drift", "Drift", "absolute change of the number", False, upper_bound=None, is_share=False
)


@dataclass(frozen=True)
class NumberRecord(ImageRecord):
    """One image: the unshifted number, and that under every shift, by series."""

    clean: float = float("nan")
    series: dict[str, list[float]] | None = None

    @property
    def truth(self):
        return ""

    def drift(self, name):
        return abs(np.array(self.series[name]) - self.clean)


class NumberBlock:
    def __init__(self, plan, sources):
        self.plan, self.sources, self.clean_of, self.found = plan, sources, {}, {}

    def clean(self, images, outputs):
        self.clean_of |= dict(zip(images, outputs[:, 0].tolist(), strict=True))

    def shifted(self, jobs, outputs):
        for job, number in zip(jobs, outputs[:, 0].tolist(), strict=True):
            self.found.setdefault(job.image, {}).setdefault(job.name, []).append(number)

    def records(self):
        return [
            NumberRecord(
                index=source.item.index,
                file=source.item.file,
                sha256=source.sha256,
                notes=source.notes,
                clean=self.clean_of[i],
                series=self.found[i],
            )
            for i, source in enumerate(self.sources)
        ]


class NumberAudit:
    key, truth, bounded = "number", None, ()

    def __init__(self, plan):
        self.plan = plan

    def parse(self, line):
        return NumberRecord(**json.loads(line) | {"notes": ()})

    def lost(self, item, reason):
        return NumberRecord(item.index, item.file, "", unreadable=reason)

    def open_block(self, sources):
        return NumberBlock(self.plan, sources)

    def check(self, records):
        pass

    def shelf(self):
        return Pile()

    def finite(self, records, name):
        return np.array([np.isfinite(r.drift(name)).all() for r in records])

    def figures(self, series, records):
        return {}

    def drifts(self, name, records):
        return np.array([r.drift(name).mean() for r in records])

    def shift_result(self, series, records):
        drift = bca_interval(self.drifts(series.name, records))
        return ShiftResult(kind=series.name, metrics={"drift": drift})

    def boundary(self, records):
        views = views_of(
            self.plan, [r.index for r in records], lambda name: self.drifts(name, records)
        )
        by_kind = {name: self.drifts(name, records) for name in self.plan.names}
        changes = Changes("changes of the number", by_kind, views, bca_interval, mean_difference)
        return boundary_parts(self.plan, changes)

    def more(self, records):
        return {}

    def gathered(self, pictures, records):
        return {}

    def samples_csv(self, records):
        yield "file,kind,drift,nonfinite\n"
        for r in records:
            for name in self.plan.names:
                yield f"{r.file},{name},{float(r.drift(name).mean())!r},0\n"

    def notes(self, records):
        return ("one number per image",)


class Counting(Task):
    """How many there are."""

    name = "counting"
    output, returns = "one number (N, 1)", "numbers"
    metrics, leading, change, means = (DRIFT,), ("drift",), "drift", ("drift",)
    subject = "the number"
    measures = (
        Measure("drift", "mean drift", lambda d, moved: f"It drifts by {d:.2g} if {moved}"),
    )
    about = (("Drift", "how far the number moves."),)
    truth = TruthWords("counts", "counted", "There is no way to give them.")

    def fits(self, output):
        return tuple(output.shape[1:]) == (1,)

    def open(self, model, data, reading, limit, seed):
        return open_dataset(data, limit=limit, seed=seed)

    def audit(self, model, dataset, plan, options):
        return NumberAudit(plan)

    def sections(self, result, *, narrow):
        rows = [
            (Name(kind), f"{shift.metrics['drift'].n}") for kind, shift in result.shifts.items()
        ]
        yield Section("Images counted", ("shift", "images"), rows)
