"""One request to `fix`, from the loaded model to the report: pick, convert, train, scan, keep."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.api.choosing import MethodComparison
from equiaudit.api.columns import BeforeAfter
from equiaudit.api.defaults import Trial, default_names, few, without_data
from equiaudit.api.losses import ALLOWED
from equiaudit.api.reading import Reading, open_data
from equiaudit.api.recovering import Training
from equiaudit.api.room import pictures, require_room
from equiaudit.audit.observer import Observer
from equiaudit.audit.options import ScanOptions
from equiaudit.data.reading import LAYING
from equiaudit.errors import InputError
from equiaudit.repair.options import FixOptions, Goal
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    import torch

    from equiaudit.data import Dataset, Place
    from equiaudit.models import Model
    from equiaudit.models.types import Preprocess
    from equiaudit.results.repair import Candidate, Choice, FixReport, Verification


@dataclass(frozen=True)
class Images:
    """`--data`, and how it is shifted."""

    folder: Place | None
    reading: Reading
    shifting: ScanOptions
    """The shifts of every scan."""

    def checked(self) -> None:
        """Raise InputError for labels, or a number, of images that are not given."""
        if self.folder is not None:
            return
        why = "is about the images of --data"
        self.reading.refuse(
            ("labels", "class_order", "class_names", *LAYING), why, "Add --data DIR."
        )
        if self.shifting.limit is not None:
            raise InputError(f"--limit {why}.", tip="Add --data DIR.")

    def dataset(self, model: Model) -> Dataset | None:
        """The images as `model` takes them; None where no folder was given."""
        if self.folder is None:
            return None
        return open_data(model, self.folder, self.reading, self.shifting.limit, self.shifting.seed)


@dataclass(frozen=True)
class Picking:
    """Whether methods are compared, by what, and how much accuracy one may lose."""

    wanted: bool
    only_compare: bool
    goal: Goal
    max_accuracy_drop: float | None

    @property
    def allowed(self) -> float:
        """Accuracy that may be lost."""
        return ALLOWED if self.max_accuracy_drop is None else self.max_accuracy_drop

    def checked(self, images: Images, training: Training) -> None:
        """Raise InputError where methods cannot be compared as asked."""
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
    by_default: bool = False
    """No method was named: an exact one that costs least is taken."""

    @property
    def scans(self) -> bool:
        """Whether any images are looked at."""
        return self.picking.wanted or not self.options.dry_run

    @property
    def trains(self) -> bool:
        """Whether a converted net is trained before it is verified."""
        return self.training.wanted and not self.options.dry_run

    def checked(self) -> None:
        """Raise InputError for all that can be told without torch."""
        from equiaudit.repair import checked_out, checked_target

        self.images.checked()
        self.training.checked()
        self.picking.checked(self.images, self.training)
        if not self.picking.wanted:
            checked_out(self.out, self.options)
        elif self.out is not None:
            checked_target(self.out, self.options.pad)
        elif not (self.picking.only_compare or self.options.dry_run):
            raise InputError("fix needs a file to write.", tip="Add -o OUT, or --compare-methods.")

    def check_method(self) -> None:
        """Raise InputError where there is no such method, or options do not go with it."""
        if self.picking.wanted:
            return
        from equiaudit.repair import checked_request

        first, *_ = self._defaults("classification") if self.by_default else (None,)
        options = self.options if first is None else replace(self.options, method=first)
        checked_request(self.out, options, trains=self.training.wanted)

    def run(self, model: Model) -> FixReport:
        """The report, written to its folder too where there is one."""
        dataset = self.images.dataset(model) if self.scans else None
        if self.by_default and not self.picking.wanted:
            return self._kept(self._exact(model, dataset))
        if not self.picking.wanted or dataset is None:
            fixed = self._fixed(model, dataset, self.options)
            return self._kept(self._with_remedy(model, dataset, fixed))
        comparison = self._comparison(model, dataset)
        compared = comparison.report(self.picking.allowed)
        if self.picking.only_compare:
            return self._kept(compared)
        fixed = self._fixed(model, dataset, comparison.chosen(compared))
        return self._kept(_with_choice(fixed, compared.candidates, compared.choice, compared.notes))

    def _defaults(self, task: str) -> tuple[str, ...]:
        return default_names(task, self.options, trains=self.training.wanted)

    def _exact(self, model: Model, dataset: Dataset | None) -> FixReport:
        """By the exact method that costs least; without images by the one named first."""
        names = self._defaults(model.task)
        task = TASKS[model.task]
        if dataset is None or len(names) == 1 or not task.scores:
            from equiaudit.repair.methods import Subject

            chosen = names[0]
            if task.maps and len(names) > 1:
                chosen = without_data(names, Subject(model, self.options.pad), self.options)
            return self._fixed(model, dataset, replace(self.options, method=chosen))
        trial = self._trial(model, dataset, names, self.options)
        rows, losses = trial.candidates()
        choice = trial.choice(rows, losses)
        options = replace(self.options, method=choice.method or names[0])
        return _with_choice(self._fixed(model, dataset, options), rows, choice, ())

    def _trial(
        self, model: Model, dataset: Dataset, names: tuple[str, ...], options: FixOptions
    ) -> Trial:
        comparison = MethodComparison(
            model, few(dataset), self.images.shifting, options, "circular", self.observer
        )
        return Trial(comparison, names, self.picking.allowed)

    def _with_remedy(self, model: Model, dataset: Dataset | None, fixed: FixReport) -> FixReport:
        """`fixed`, and where it loses too much, an exact method that does not."""
        loss = fixed.loss
        if loss is None or loss.verdict != "lost" or dataset is None:
            return fixed
        options = FixOptions(pad=self.options.pad, for_=self.options.for_, seed=self.options.seed)
        names = default_names(model.task, options, trains=False)
        others = tuple(name for name in names if name != self.options.method)
        trial = self._trial(model, dataset, others, options)
        rows, losses = trial.candidates()
        best = trial.choice(rows, losses).method
        if best not in losses or float(losses[best].lost) > self.picking.allowed:
            return fixed
        return fixed.model_copy(update={"loss": loss.model_copy(update={"keeps": best})})

    def _comparison(self, model: Model, dataset: Dataset) -> MethodComparison:
        task = TASKS[model.task]
        if not task.scores:
            raise InputError(
                f"{model.name} returns {task.returns}, and methods are compared by the labels they"
                " keep.",
                tip="Give --method and --data for its figures before and after.",
            )
        return MethodComparison(
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
        return table.added_to(report, self.picking.allowed)

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
        margin = how.size[0] - model.preprocess.size[0]
        require_room(dataset, how, margin, options.method)
    return pictures(dataset, how)


def _with_choice(
    found: FixReport,
    candidates: tuple[Candidate, ...],
    choice: Choice | None,
    notes: tuple[str, ...],
) -> FixReport:
    said = tuple(dict.fromkeys((*notes, *found.notes)))
    update = {"candidates": candidates, "choice": choice, "notes": said}
    return found.model_copy(update=update)
