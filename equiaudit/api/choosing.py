"""Methods compared on data, and the one that a stated rule picks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from equiaudit._version import __version__
from equiaudit.api.columns import figures_of
from equiaudit.api.room import fitting, has_room
from equiaudit.audit.observer import Observer
from equiaudit.audit.options import ScanOptions
from equiaudit.errors import InputError, NothingToDo, RunError
from equiaudit.repair.options import Goal
from equiaudit.results.repair import Candidate, Choice, Claim, FixReport
from equiaudit.tasks.columns import accuracy_of, consistency_of

if TYPE_CHECKING:
    import torch

    from equiaudit.audit.assemble import Scan
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.repair import FixOptions
    from equiaudit.repair.methods import Converted, Recipe, Subject
    from equiaudit.results import Estimate

UNMODIFIED = "unmodified"
_COMBINED = ("crop-select+canonical", "crop-select+mass")
_MOST_OFFSETS = 4
"""Per image and kind: a mean over images gains little from more, and every method pays."""
_SAME = 1e-9


@dataclass(frozen=True)
class MethodComparison:
    """All methods on one model and the same images and shifts; nothing is written."""

    model: Model
    dataset: Dataset
    shifting: ScanOptions
    options: FixOptions
    goal: Goal
    observer: Observer

    @property
    def offsets(self) -> int:
        """Shifts per image and kind."""
        wanted = self.shifting.offsets
        return _MOST_OFFSETS if wanted == "full" else min(wanted, _MOST_OFFSETS)

    def candidates(self) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """The unmodified model first, then every method in the order of the registry; notes."""
        converted, refused = self._converted()
        hows = [self.model.preprocess, *(made.preprocess for made in converted.values())]
        quick = replace(self.shifting, offsets=self.offsets, images=False)
        options, notes = fitting(self.dataset, hows, quick, crop_counts=True)
        before = self._scan(self.model, options, UNMODIFIED)
        found = {UNMODIFIED: Candidate(method=UNMODIFIED, metrics=figures_of(before))}
        for name, made in converted.items():
            found[name] = self._measured(name, made, options, before)
        rows = (found[UNMODIFIED], *((found | refused)[name] for name in _names()))
        return rows, (self._said(options), *notes)

    def report(self, most: float) -> FixReport:
        """All candidates, and the one to take where at most `most` accuracy may be lost."""
        rows, notes = self.candidates()
        choice = pick(rows, self.goal, most)
        return FixReport(
            tool_version=__version__,
            outcome="compared",
            method=choice.method or "none",
            inspection=self._subject.inspection,
            candidates=rows,
            choice=choice,
            notes=notes,
        )

    def chosen(self, compared: FixReport) -> FixOptions:
        """The options to fix with; NothingToDo where the rule picks no method."""
        from equiaudit.repair.methods import method

        choice = compared.choice
        if choice is None or choice.method is None:
            why = "nothing was compared" if choice is None else choice.because
            rule = "" if choice is None else f" ({choice.rule})"
            raise NothingToDo(
                f"No method does what was asked for{rule}: {why}.",
                tip="--compare-methods prints the table; --max-accuracy-drop allows a larger loss.",
            )
        return fitted_options(method(choice.method), self.options)

    def _converted(self) -> tuple[dict[str, Converted], dict[str, Candidate]]:
        """What fits, converted, and what does not, with the reason."""
        made: dict[str, Converted] = {}
        refused: dict[str, Candidate] = {}
        for name in _names():
            self.observer.note(f"trying {name}")
            outcome = self.tried(name)
            if isinstance(outcome, Candidate):
                refused[name] = outcome
            else:
                made[name] = outcome
        return made, refused

    def tried(self, name: str) -> Converted | Candidate:
        """The model converted by a method, or why that does not fit."""
        from equiaudit.repair.methods import method

        recipe = method(name)
        options = fitted_options(recipe, self.options)
        claim = recipe.claim(options)
        if claim.needs_training:
            return _unfit(name, f"It needs training first: {claim.training}.")
        misfit = recipe.misfit(self._subject, options)
        if misfit is not None:
            return _unfit(name, misfit.reason, misfit.remedy)
        try:
            made = recipe.convert(self._subject, options)
        except (NothingToDo, RunError) as error:
            return _unfit(name, error.message, error.tip)
        if not has_room(self.dataset, made.preprocess, 0):
            size = "x".join(map(str, made.preprocess.size))
            return _unfit(name, f"It takes {size} px, and there are smaller images.")
        return made

    def _measured(
        self, name: str, made: Converted, options: ScanOptions, before: Scan
    ) -> Candidate:
        from equiaudit.repair.cost import slowdown
        from equiaudit.repair.verify.images import example_images

        scan = self._scan(self.as_model(name, made), options, name)
        (image,) = example_images(made.preprocess, count=1)
        return Candidate(
            method=name,
            claim=self.promise(name),
            metrics=figures_of(scan),
            same_label=_same_label(before, scan),
            slowdown=slowdown(made.original, made.net, image[None]),
        )

    def promise(self, name: str) -> Claim:
        """What a method promises for this model."""
        from equiaudit.repair.methods import method

        return method(name).promise(self._subject, self.options)

    def planned(self, model: Model) -> Model:
        """`model` with the stride of all, so that all are shifted alike."""
        return replace(model, total_stride=self._stride)

    @cached_property
    def _subject(self) -> Subject:
        from equiaudit.repair.methods import Subject

        return Subject(self.model)

    def as_model(self, name: str, made: Converted) -> Model:
        """What a method made, as a model to scan."""
        return replace(
            self.model,
            name=f"{self.model.name}, {name}",
            run=_as_run(made.net.on(str(self.model.device)), self.model),
            preprocess=made.preprocess,
            backend="torch",
            module=None,
            path=None,
            fixed_batch=None,
        )

    def _scan(self, model: Model, options: ScanOptions, name: str) -> Scan:
        from equiaudit.audit.engine import run_scan

        self.observer.note(f"scanning {name}")
        done, journal = run_scan(self.planned(model), self.dataset, options, observer=self.observer)
        journal.discard()
        return done

    @cached_property
    def _stride(self) -> tuple[int, int] | None:
        return self._subject.inspection.total_stride or self.model.total_stride

    def _said(self, options: ScanOptions) -> str:
        return (
            f"compared on {len(self.dataset.items)} images, {options.offsets} shifts of up to"
            f" {options.max_shift} px per image and kind, the same for every method"
        )


def pick(candidates: Sequence[Candidate], goal: Goal, most: float) -> Choice:
    """The candidate of highest consistency under `goal` among those that lose at most `most`.

    Accuracy is that of unshifted images; without labels, the share that keep their label stands
    for it. Ties go to the faster one. Raises InputError where the goal was not measured.
    """
    unmodified, *others = candidates
    rule = (
        f"the highest {goal} consistency, above that of the unmodified model, among the methods"
        f" that {_lose(unmodified, most)}; ties by latency"
    )
    now = _consistency(unmodified, goal)
    if now is None:
        raise InputError(
            f"There is no room for {goal} shifts in these images, so no method can be chosen by"
            " them.",
            tip="Give larger images, a smaller --max-shift, or --goal circular.",
        )
    fits = [c for c in others if c.measured and _loss(c, unmodified) <= most + _SAME]
    better = [c for c in fits if (_consistency(c, goal) or 0.0) > now + _SAME]
    if not better:
        above = f"is above the {now:.1%} of the unmodified model"
        because = f"none of {len(fits)} such methods {above}" if fits else "none is within that"
        return Choice(goal=goal, rule=rule, method=None, because=because)
    best = min(better, key=lambda c: (-round(_consistency(c, goal) or 0.0, 9), _slowdown(c)))
    because = (
        f"{now:.1%} becomes {_consistency(best, goal) or 0.0:.1%}, at {_slowdown(best):.2f} times"
        " the latency"
    )
    return Choice(goal=goal, rule=rule, method=best.method, because=because)


def fitted_options(recipe: Recipe, options: FixOptions) -> FixOptions:
    """`options` for one method of several: those that it has no use for back at their default."""
    return replace(recipe.own(options), method=recipe.name)


def _lose(unmodified: Candidate, most: float) -> str:
    if accuracy_of(unmodified.metrics) is not None:
        points = "1 point" if most == 0.01 else f"{100 * most:g} points"
        return f"lose at most {points} of accuracy on unshifted images"
    return f"change at most {100 * most:g}% of the labels of unshifted images, which have no truth"


def _loss(candidate: Candidate, unmodified: Candidate) -> float:
    before, after = accuracy_of(unmodified.metrics), accuracy_of(candidate.metrics)
    if before is not None and after is not None:
        return float(before) - float(after)
    return 1.0 if candidate.same_label is None else 1.0 - float(candidate.same_label)


def _consistency(candidate: Candidate, kind: str) -> float | None:
    """None where it was not measured."""
    found = consistency_of(candidate.metrics, kind)
    return None if found is None else found.value


def _slowdown(candidate: Candidate) -> float:
    return float("inf") if candidate.slowdown is None else float(candidate.slowdown)


def _unfit(name: str, reason: str, remedy: str | None = None) -> Candidate:
    return Candidate(method=name, reason=reason, remedy=remedy)


def _names() -> Iterator[str]:
    from equiaudit.repair.methods import COMPARED

    yield from COMPARED
    yield from _COMBINED


def _same_label(before: Scan, after: Scan) -> Estimate | None:
    """None where images have no single label."""
    from equiaudit.metrics.intervals import proportion_interval

    labels = [_clean_labels(scan) for scan in (before, after)]
    if not labels[0]:
        return None
    same = [labels[0][file] == labels[1].get(file) for file in labels[0]]
    return proportion_interval(sum(same), len(same))


def _clean_labels(scan: Scan) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(scan.samples))
    return {row["file"]: row["clean_label"] for row in rows if row.get("clean_label")}


def _as_run(
    run: Callable[[torch.Tensor], object], model: Model
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The main output as `model.run` gives it."""
    import torch

    from equiaudit.graphs.outputs import main_output
    from equiaudit.models.outputs import OutputChoice, take_output

    choice = OutputChoice(
        "", 0, model.task, layout=model.output_layout, labels=model.outputs_labels
    )
    take = take_output(choice, what=model.name)

    def main(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return take(main_output(run(batch)), len(batch))

    return main
