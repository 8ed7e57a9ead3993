"""The method that `fix` takes where none is named: exact, and the one that costs least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from equiaudit.api.choosing import UNMODIFIED, MethodComparison, fitted_options
from equiaudit.api.columns import Seen, figures_of
from equiaudit.api.losses import changed_pixels, loss_between
from equiaudit.audit.options import ScanOptions
from equiaudit.results.repair import Candidate, Choice
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.repair import FixOptions
    from equiaudit.repair.methods import Converted, Subject
    from equiaudit.results import Estimate
    from equiaudit.results.loss import Loss

TRIAL = 64
"""Images that methods are tried on where none is named."""
_OF_LABELS = ("mass", "canonical", "canonical+border")
_OF_MAPS = ("canonical+border", "canonical")
"""In the order in which ties are settled: what is cheaper, or keeps more of maps, first. Circular
padding shows in every pixel of a map near the border, so `mass` is taken only by name."""


def default_names(task: str, options: FixOptions, *, trains: bool) -> tuple[str, ...]:
    """The methods that may be taken: those with a use for every option that was set."""
    from equiaudit.repair.methods import method

    if trains:
        return ("mass",)
    if TASKS[task].declared:
        return ("canonical",)
    maps = TASKS[task].maps
    names = (*_OF_MAPS, "mass") if maps else _OF_LABELS
    use = [name for name in names if method(name).own(options) == options]
    if not use:
        return ("mass",)
    return tuple(use[: len(_OF_MAPS)]) if maps else tuple(use)


def few(dataset: Dataset) -> Dataset:
    """At most `TRIAL` images, from all over the data."""
    step = max(1, -(-len(dataset.items) // TRIAL))
    return replace(dataset, items=dataset.items[::step])


@dataclass(frozen=True)
class Trial:
    """Methods on few images, unshifted ones above all; nothing is written."""

    comparison: MethodComparison
    names: tuple[str, ...]
    allowed: float

    def candidates(self) -> tuple[tuple[Candidate, ...], dict[str, Loss]]:
        """The unmodified model first, then the methods; and what each loses.

        Where only one fits, or none, nothing is measured.
        """
        made = {name: self._tried(name) for name in self.names}
        fits = {name: one for name, one in made.items() if not isinstance(one, Candidate)}
        rows = [one for one in made.values() if isinstance(one, Candidate)]
        if len(fits) < 2:  # nothing to choose between
            return (*(Candidate(method=name) for name in fits), *rows), {}
        before = self._scan(self.comparison.model, UNMODIFIED)
        found = {name: self._measured(name, one, before) for name, one in fits.items()}
        losses = {name: loss for name, (_, loss) in found.items() if loss is not None}
        first = Candidate(method=UNMODIFIED, metrics=before.figures)
        return (first, *(row for row, _ in found.values()), *rows), losses

    def _tried(self, name: str) -> Converted | Candidate:
        self.comparison.observer.note(f"trying {name}")
        return self.comparison.tried(name)

    def choice(self, rows: Sequence[Candidate], losses: dict[str, Loss]) -> Choice:
        """The one that loses least; ties in the order of the names."""
        fits = [row.method for row in rows if row.measured and row.method != UNMODIFIED]
        known = [name for name in fits if name in losses and losses[name].lost.value is not None]
        images = len(self.comparison.dataset.items)
        rule = f"of the exact methods the one that costs least on {images} unshifted images"
        if not fits:
            return Choice(goal="circular", rule=rule, method=None, because="none fits")
        best = min(known, key=lambda name: round(float(losses[name].lost), 9), default=fits[0])
        return Choice(goal="circular", rule=rule, method=best, because=_because(losses.get(best)))

    def _measured(self, name: str, made: Converted, before: Seen) -> tuple[Candidate, Loss | None]:
        comparison = self.comparison
        model = comparison.as_model(name, made)
        after = self._scan(model, name)
        loss = loss_between(
            model.task,
            before.records,
            after.records,
            labelled=comparison.dataset.labelled,
            pixels=partial(changed_pixels, comparison.model, model, comparison.dataset),
            allowed=self.allowed,
            seed=comparison.shifting.seed,
        )
        row = Candidate(
            method=name,
            claim=comparison.promise(name),
            metrics=after.figures,
            same_label=_same(loss),
        )
        return row, loss

    def _scan(self, model: Model, name: str) -> Seen:
        from equiaudit.audit.engine import run_scan

        comparison = self.comparison
        comparison.observer.note(f"{name} on {len(comparison.dataset.items)} images")
        options = ScanOptions(
            shifts=("circular",),
            max_shift=comparison.shifting.max_shift,
            offsets=2,
            seed=comparison.shifting.seed,
            images=False,
            accuracy_check=comparison.shifting.accuracy_check and name == UNMODIFIED,
        )
        done, journal = run_scan(
            comparison.planned(model), comparison.dataset, options, observer=comparison.observer
        )
        journal.discard()
        return Seen(figures_of(done), tuple(journal.records.values()))


def without_data(names: Sequence[str], subject: Subject, options: FixOptions) -> str:
    """The first of `names` that fits, the first of all where none does."""
    from equiaudit.repair.methods import method

    recipes = (method(name) for name in names)
    fits = (
        recipe.name
        for recipe in recipes
        if recipe.misfit(subject, fitted_options(recipe, options)) is None
    )
    return next(fits, names[0])


def _because(loss: Loss | None) -> str:
    if loss is None or loss.lost.value is None:
        return "nothing says what a change of its output is worth"
    if loss.before is None or loss.after is None:
        return f"{loss.lost.value:.1%} of the {loss.measure} change"
    return f"{loss.measure} goes from {float(loss.before):.1%} to {float(loss.after):.1%}"


def _same(loss: Loss | None) -> Estimate | None:
    """Of changes without a truth, the share that stays."""
    from equiaudit.metrics.flips import kept_of

    return kept_of(loss.lost) if loss is not None and loss.before is None else None
