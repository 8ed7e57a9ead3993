"""The `TaskAudit` of images with several labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.boundary import Changes, boundary_parts, paired_views, unequal
from equiaudit.audit.jobs import columns_of
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.shelf import Records
from equiaudit.audit.task import Source, TaskAudit
from equiaudit.data import Dataset
from equiaudit.errors import InputError
from equiaudit.metrics import classification, multilabel
from equiaudit.metrics.intervals import mean_interval
from equiaudit.metrics.paired import paired_difference
from equiaudit.models.outputs import Decisions, decisions_of
from equiaudit.models.types import Model
from equiaudit.results import BoundaryPart, ShiftResult
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks import TASKS
from equiaudit.tasks.multilabel.block import SetBlock
from equiaudit.tasks.multilabel.records import SetRecord

_MOST_CLASSES = 256
_CHECK_AFTER, _CHECK_P = 100, 0.01
_FEW = 30
_ABOUT = ("file", "kind", "labels", "clean_labels", "offsets")


class SetAudit(TaskAudit[SetRecord]):
    """Sets of classes, decided at a threshold."""

    record = SetRecord
    bounded = multilabel.MEANS

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        decide = decisions_of(model)
        if decide is None:
            raise ValueError(f"{model.task} decides nothing")
        self._decide: Decisions = decide
        if plan.protocol is not None and plan.protocol not in TASKS[model.task].protocols:
            raise InputError(
                f"The protocol {plan.protocol} compares one label per image, and this model decides"
                " for sets of them.",
                tip="Leave --protocol out; --shifts and --max-shift choose the shifts.",
            )

    @property
    def key(self) -> str:
        """What is decided depends on the threshold, what is right on the table."""
        return f"{self.model.task}:{self._decide}:{self.dataset.truth is not None}"

    def open_block(self, sources: Sequence[Source]) -> SetBlock:
        """Begin with some images."""
        return SetBlock(self.plan, sources, self._decide, self.model.num_classes or 0)

    def check(self, records: Records[SetRecord]) -> None:
        """Stop when decisions are no better than chance."""
        total = len(self.dataset.items)
        if not self.options.accuracy_check or len(records) < min(_CHECK_AFTER, total):
            return
        found = _above_chance(records.readable)
        if found is None or found[1] or found[0] < _FEW:
            return
        raise InputError(
            f"Over {found[0]} images the labels decided for have no more to do with the true ones"
            " than chance: the preprocessing or the threshold is probably wrong, or the classes"
            " are in another order.",
            tip="Check --mean, --std, --preprocess, --threshold and --class-names;"
            " --no-accuracy-check goes on anyway.",
        )

    def finite(self, records: Records[SetRecord], name: str) -> NDArray[np.bool_]:
        """(n,) whether all outputs were."""
        return np.array([r.finite and name not in r.nonfinite for r in records], np.bool_)

    def shift_result(self, series: Series, records: Records[SetRecord]) -> ShiftResult:
        """Consistency and its kin, the maps, and a row per class."""
        seen = self._sets(series, records)
        of_sets = seen.observations()
        stride = self.plan.stride if not series.pair else None
        rows = multilabel.class_rows(seen, self._names, _MOST_CLASSES, seed=self.plan.seed)
        return ShiftResult(
            kind=series.name,
            metrics=multilabel.summarise(seen, seed=self.plan.seed),
            agreement_map=classification.agreement_map(
                of_sets, series.low, series.high, series.parts
            ),
            phase_map=classification.phase_map(of_sets, stride, series.parts) if stride else None,
            by_distance=classification.by_distance(of_sets),
            classes=tuple(rows),
            notes=(series.meaning,) if series.meaning else (),
        )

    def figures(
        self, series: Series, records: Records[SetRecord]
    ) -> dict[str, NDArray[np.float64]]:
        """One share per image and metric."""
        if not records:
            return {name: np.zeros(0) for name in multilabel.MEANS}
        return multilabel.shares(self._sets(series, records))

    def boundary(self, records: Records[SetRecord]) -> tuple[BoundaryPart, ...]:
        """What changes decisions."""
        names = columns_of(self.plan)
        finite = records.where(np.all([self.finite(records, name) for name in names], axis=0))
        changes = Changes(
            subject="changes of the set",
            by_kind={name: _changed(finite, name) for name in self.plan.names},
            views=paired_views(self.plan, finite.indices, partial(_differ, finite)),
            mean=mean_interval,
            difference=paired_difference,
            beyond=unequal(self.plan, partial(_unequal, finite)),
        )
        return boundary_parts(self.plan, changes)

    def samples_csv(self, records: Records[SetRecord]) -> Iterator[str]:
        """One row per image and kind; sets as class indices with | between."""
        yield _row((*_ABOUT, *multilabel.MEANS, "nonfinite"))
        place = {s.name: dict(self._shares(s, records)) for s in self.plan.series}
        for record in records:
            for series in self.plan.series:
                yield _row(self._cells(record, series, place[series.name]))

    def _shares(
        self, series: Series, records: Records[SetRecord]
    ) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Index of an image -> its figures in `MEANS` order, where all outputs are finite."""
        finite = records.where(self.finite(records, series.name))
        own = self.figures(series, finite)
        columns = [own[name].tolist() for name in multilabel.MEANS]
        for index, *figures in zip(finite.indices.tolist(), *columns, strict=True):
            yield index, tuple(map(repr, figures))

    def _cells(
        self, record: SetRecord, series: Series, own: Mapping[int, tuple[str, ...]]
    ) -> tuple[object, ...]:
        known = record.true()
        labels = "" if known is None else _listed(known)
        clean = _listed(record.decided()) if record.finite else ""
        count = len(self.plan.offsets(series, record.index))
        lost = record.nonfinite.get(series.name, 0) + (not record.finite)
        figures = own.get(record.index, ("",) * len(multilabel.MEANS))
        return (record.file, series.name, labels, clean, count, *figures, lost)

    def notes(self, records: Records[SetRecord]) -> tuple[str, ...]:
        """How outputs were read and decided; few labels no check of them."""
        how = (
            "outputs are probabilities (in 0..1 for noise a hundred times as strong)"
            if self._decide.probabilities
            else "outputs are logits"
        )
        limit = "" if self._decide.probabilities else f", a logit of {self._decide.limit:.6g}"
        said = f"{how}; a class is decided for above {self._decide.threshold:g}{limit}"
        found = _above_chance(records)
        if found is None or found[1] or found[0] >= _FEW:
            return (said,)
        few = f"{found[0]} images are too few to tell the decisions from chance"
        return (said, f"{few}, so labels and preprocessing are not checked by them")

    @property
    def _names(self) -> dict[int, str]:
        return dict(self.dataset.class_names or enumerate(self.model.class_names or ()))

    def _sets(self, series: Series, records: Records[SetRecord]) -> multilabel.Sets:
        found = list(records)
        known = [record.true() for record in found]
        truth = [each for each in known if each is not None]
        return multilabel.Sets(
            offsets=np.stack([self.plan.offsets(series, record.index) for record in found]),
            shifted=np.stack([record.of(series.name) for record in found]),
            clean=np.stack([record.decided() for record in found]),
            truth=np.stack(truth) if len(truth) == len(found) else None,
        )


def _changed(records: Records[SetRecord], name: str) -> NDArray[np.float64]:
    """Share of the shifts under `name` that change the set, per image."""
    found = [(record.of(name) != record.decided()).any(axis=1).mean() for record in records]
    return np.array(found, np.float64)


def _differ(records: Records[SetRecord], name: str, one: int, other: int) -> NDArray[np.bool_]:
    """(n,) whether two passes of `name` give different sets."""
    found = (record.of(name) for record in records)
    return np.array([(sets[one] != sets[other]).any() for sets in found], np.bool_)


def _unequal(records: Records[SetRecord], one: str, other: str) -> NDArray[np.float64]:
    """(n,) share of the offsets at which two series give different sets."""
    found = [(record.of(one) != record.of(other)).any(axis=1).mean() for record in records]
    return np.array(found, np.float64)


def _above_chance(records: Iterable[SetRecord]) -> tuple[int, bool] | None:
    """How many images speak, and whether decisions go with the truth; None where none is known.

    Per image, the sum over classes of (decided - its mean) (true - its mean), whose mean is 0
    where they have nothing to do with one another; one-sided t test at 1%.
    """
    pairs = [
        (record.decided(), truth)
        for record in records
        if record.finite and (truth := record.true()) is not None
    ]
    if not pairs:
        return None
    from scipy.stats import ttest_1samp  # slow to import

    decided, true = (np.stack(each).astype(np.float64) for each in zip(*pairs, strict=True))
    together = ((decided - decided.mean(0)) * (true - true.mean(0))).sum(1)
    if len(pairs) < 2 or not np.ptp(together):
        return len(pairs), bool((decided == true).all())
    p: float = ttest_1samp(together, 0.0, alternative="greater").pvalue
    return len(pairs), p < _CHECK_P


def _listed(decisions: NDArray[np.bool_]) -> str:
    return "|".join(map(str, np.flatnonzero(decisions).tolist()))


def _row(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()
