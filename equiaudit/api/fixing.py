"""One request to `fix`, from the loaded model to the report: pick, convert, train, scan, keep."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from equiaudit.api.choosing import GOALS, Comparison, Goal
from equiaudit.api.columns import BeforeAfter
from equiaudit.api.reading import Reading, open_data
from equiaudit.api.recovering import Training
from equiaudit.api.room import pictures, require_room
from equiaudit.audit.observer import Observer
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    import torch

    from equiaudit.data import Dataset, Place
    from equiaudit.models import Model
    from equiaudit.models.types import Preprocess
    from equiaudit.repair import FixOptions
    from equiaudit.results.repair import FixReport, Verification

_MOST_LOSS = 0.01
"""Accuracy that a method may lose to be picked, unless said."""


@dataclass(frozen=True)
class Images:
    """`--data`, and how it is shifted."""

    folder: Place | None
    reading: Reading
    limit: int | None
    max_shift: int
    offsets: int | Literal["full"]
    seed: int

    def checked(self) -> None:
        """Raise InputError for labels, or a number, of images that are not given."""
        if self.folder is not None:
            return
        why = "is about the images of --data"
        self.reading.refuse(("labels", "class_order", "class_names"), why, "Add --data DIR.")
        if self.limit is not None:
            raise InputError(f"--limit {why}.", tip="Add --data DIR.")

    def dataset(self, model: Model) -> Dataset | None:
        """The images as `model` takes them; None where no folder was given."""
        if self.folder is None:
            return None
        return open_data(model, self.folder, self.reading, self.limit, self.seed)

    @property
    def shifting(self) -> ScanOptions:
        """The shifts of every scan."""
        return ScanOptions(
            max_shift=self.max_shift, offsets=self.offsets, seed=self.seed, limit=self.limit
        )


@dataclass(frozen=True)
class Picking:
    """Whether methods are compared, by what, and how much accuracy one may lose."""

    wanted: bool
    only_compare: bool
    goal: Goal
    max_accuracy_drop: float | None

    def checked(self, images: Images, training: Training) -> None:
        """Raise InputError where methods cannot be compared as asked."""
        if self.goal not in GOALS:
            raise InputError(f"--goal is {self.goal!r}.", tip=f"It is {' or '.join(GOALS)}.")
        if self.max_accuracy_drop is not None and images.folder is None:
            raise InputError("--max-accuracy-drop needs images.", tip="Add --data DIR.")
        if not self.wanted:
            return
        if images.folder is None:
            raise InputError("Methods are compared on images.", tip="Add --data DIR.")
        if training.wanted:
            raise InputError(
                "Methods are compared as they are, without training.",
                tip="Name the method to train with, as in --method mass.",
            )


@dataclass(frozen=True)
class Request:
    """What `fix` was asked for; `checked` needs no model, `run` does the work."""

    out: Path | None
    options: FixOptions
    images: Images
    training: Training
    picking: Picking
    folder: Path | None
    """Where the report goes."""
    observer: Observer

    @property
    def scans(self) -> bool:
        """Whether any images are looked at."""
        return self.picking.wanted or not self.options.dry_run

    @property
    def trains(self) -> bool:
        """Whether a converted net is trained before it is verified."""
        return self.training.wanted and not self.options.dry_run

    def checked(self) -> None:
        """Raise InputError for all that can be told before the model is loaded."""
        from equiaudit.repair import checked_request, checked_target

        self.images.checked()
        self.picking.checked(self.images, self.training)
        if not self.picking.wanted:
            checked_request(self.out, self.options, trains=self.training.wanted)
        elif self.out is not None:
            checked_target(self.out, self.options.pad)
        elif not (self.picking.only_compare or self.options.dry_run):
            raise InputError("fix needs a file to write.", tip="Add -o OUT, or --compare-methods.")

    def run(self, model: Model) -> FixReport:
        """The report, written to its folder too where there is one."""
        dataset = self.images.dataset(model) if self.scans else None
        if not self.picking.wanted or dataset is None:
            return self._kept(self._fixed(model, dataset, self.options))
        comparison = self._comparison(model, dataset)
        most = self.picking.max_accuracy_drop
        compared = comparison.report(_MOST_LOSS if most is None else most)
        if self.picking.only_compare:
            return self._kept(compared)
        fixed = self._fixed(model, dataset, comparison.chosen(compared))
        return self._kept(_with_choice(fixed, compared))

    def _comparison(self, model: Model, dataset: Dataset) -> Comparison:
        task = TASKS[model.task]
        if not task.scores:
            raise InputError(
                f"{model.name} returns {task.returns}, and methods are compared by the labels they"
                " keep.",
                tip="Give --method and --data for its figures before and after.",
            )
        return Comparison(
            model, dataset, self.images.shifting, self.options, self.picking.goal, self.observer
        )

    def _fixed(self, model: Model, dataset: Dataset | None, options: FixOptions) -> FixReport:
        """Converted by one method, trained, written, and scanned before and after."""
        from equiaudit.repair import fix

        report = fix(
            model,
            self.out,
            options,
            images=None if dataset is None else partial(_given, dataset, model, options),
            recover=self.training.recover(model, self.out, self.observer) if self.trains else None,
            progress=self.observer.note,
        )
        if self.trains:
            self.training.discard(self.out)
        if dataset is None or options.dry_run:
            return report
        table = BeforeAfter(model, dataset, self.images.shifting, self.folder, self.observer)
        return table.added_to(report, self.picking.max_accuracy_drop)

    def _kept(self, report: FixReport) -> FixReport:
        if self.folder is not None:
            from equiaudit.report.formats import write_files
            from equiaudit.report.repair import render_fix

            write_verifications(self.folder, report.verifications)
            texts = {
                "fix.json": report.model_dump_json(indent=2) + "\n",
                "fix.md": render_fix(report, "md"),
            }
            write_files(self.folder, texts)
        return report


def write_verifications(folder: Path, records: Iterable[Verification]) -> None:
    """`records` as verification.json in `folder`."""
    from equiaudit.report.formats import write_files

    dumped = [record.model_dump(mode="json") for record in records]
    write_files(folder, {"verification.json": json.dumps(dumped, indent=2) + "\n"})


def _given(
    dataset: Dataset, model: Model, options: FixOptions, how: Preprocess
) -> dict[str, torch.Tensor]:
    """Images for the verification; InputError where they are too small for the fixed model."""
    if how.size != model.preprocess.size:
        require_room(dataset, how, options.margin, options.method)
    return pictures(dataset, how)


def _with_choice(found: FixReport, compared: FixReport) -> FixReport:
    notes = tuple(dict.fromkeys((*compared.notes, *found.notes)))
    update = {"candidates": compared.candidates, "choice": compared.choice, "notes": notes}
    return found.model_copy(update=update)
