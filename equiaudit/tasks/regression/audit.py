"""The `TaskAudit` of regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.audit.forward import blank
from equiaudit.audit.jobs import Jobs
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import Source
from equiaudit.data import Dataset
from equiaudit.errors import InputError
from equiaudit.metrics.dense import largest
from equiaudit.models.types import Model
from equiaudit.results import Estimate, PartFigures
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.arrays.audit import ArrayAudit, Floats, Recs, mean_of, percentile, root_of
from equiaudit.tasks.arrays.block import ArrayBlock
from equiaudit.tasks.arrays.records import ArrayRecord, Arrays

_OUTPUT, _TRUTH = "output", "truth"


class RegressionBlock(ArrayBlock):
    """Keeps every output (K,) as it is."""

    def __init__(
        self, plan: ShiftPlan, sources: Sequence[Source], truth: Sequence[Floats] | None
    ) -> None:
        known = [""] * len(sources)
        if truth is not None:
            known = [",".join(map(repr, row.tolist())) for row in truth]
        super().__init__(plan, sources, known)
        self._truth = truth

    def unshifted(self, images: NDArray[Any], outputs: Tensor) -> None:
        """Keep them."""
        self.put(_OUTPUT, images, np.zeros_like(images), outputs.cpu().numpy())

    def compare(self, jobs: Jobs, outputs: Tensor) -> None:
        """Keep them."""
        self.put(_OUTPUT, jobs.image, 1 + jobs.column, outputs.cpu().numpy())

    def further(self, image: int) -> Arrays:
        """The numbers that are right."""
        return {} if self._truth is None else {_TRUTH: self._truth[image]}


class RegressionAudit(ArrayAudit):
    """K numbers per image."""

    subject = "changes of the output"
    columns = ("change", "change_max", "spread", "mae_clean", "mae_shifted", "mae_worst")

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        self._count = int(blank(model).shape[1])
        given = None if dataset.numbers is None else dataset.numbers.shape[1]
        if given is not None and given != self._count:
            raise InputError(
                f"The labels have {given} number{'' if given == 1 else 's'} per image, and"
                f" {model.name} returns {self._count}.",
                tip="Give a column for each output, in their order, and none beside.",
            )

    def open_block(self, sources: Sequence[Source]) -> RegressionBlock:
        """Begin with some images."""
        numbers, truth = self.dataset.numbers, None
        if numbers is not None:
            listed = self.dataset.items.indices
            places = np.searchsorted(listed, [source.item.index for source in sources])
            truth = list(numbers[places])
        return RegressionBlock(self.plan, sources, truth)

    def _moved(self, records: Recs, name: str) -> Floats:
        """(n, K, outputs) absolute changes."""
        clean = np.stack([record.arrays[_OUTPUT][0] for record in records])
        found = self.stacked(records, _OUTPUT, name).astype(np.float64)
        return np.abs(found - clean.astype(np.float64)[:, None])

    def _errors(self, records: Recs, name: str) -> tuple[Floats, Floats]:
        """(n, outputs) absolute errors of the unshifted outputs; (n, K, outputs) of the others."""
        truth = np.stack([record.arrays[_TRUTH] for record in records])
        clean = np.stack([record.arrays[_OUTPUT][0] for record in records]).astype(np.float64)
        shifted = self.stacked(records, _OUTPUT, name).astype(np.float64)
        return np.abs(clean - truth), np.abs(shifted - truth[:, None])

    def change(self, record: ArrayRecord, name: str) -> Floats:
        """Mean over the outputs."""
        return np.asarray(self._moved([record], name)[0].mean(1))

    def metrics(self, series: Series, records: Recs) -> dict[str, Estimate]:
        """Of all outputs together."""
        moved, seed = self._moved(records, series.name), self.plan.seed
        values = self.stacked(records, _OUTPUT, series.name)
        found = self._changes_of(moved, values)
        if not self.dataset.labelled:
            return found
        clean, shifted = self._errors(records, series.name)
        squares = np.square(shifted)
        return found | {
            "mae_clean": mean_of(clean.mean(1), seed),
            "rmse_clean": root_of(np.square(clean).mean(1), seed),
            "mae_shifted": mean_of(shifted.mean((1, 2)), seed),
            "rmse_shifted": root_of(squares.mean((1, 2)), seed),
            "mae_worst": mean_of(shifted.mean(2).max(1), seed),
            "rmse_worst": root_of(squares.mean(2).max(1), seed),
        }

    def _changes_of(self, moved: Floats, values: NDArray[Any]) -> dict[str, Estimate]:
        """Of absolute changes and outputs, both (n, K, outputs)."""
        return {
            "change": mean_of(moved.mean((1, 2)), self.plan.seed),
            "change_p95": percentile(moved, len(moved)),
            "change_max": largest(moved.max((1, 2))),
            "spread": mean_of(_spread(values).mean(1), self.plan.seed),
        }

    def parts(self, series: Series, records: Recs) -> tuple[PartFigures, ...]:
        """Each output by itself."""
        moved = self._moved(records, series.name)
        values = self.stacked(records, _OUTPUT, series.name)
        errors = self._errors(records, series.name) if self.dataset.labelled else None

        def figures(part: int) -> dict[str, Estimate]:
            one = slice(part, part + 1)
            found = self._changes_of(moved[..., one], values[..., one])
            if errors is not None:
                clean, shifted = errors
                found["mae_clean"] = mean_of(clean[:, part], self.plan.seed)
                found["mae_shifted"] = mean_of(shifted[..., part].mean(1), self.plan.seed)
            return found

        return self.listed(moved.mean((0, 1)), figures)

    def cells(self, series: Series, record: ArrayRecord) -> dict[str, object]:
        """Means and the worst."""
        moved = self._moved([record], series.name)
        spread = _spread(self.stacked([record], _OUTPUT, series.name))
        found: dict[str, object] = {
            "change": float(moved.mean()),
            "change_max": float(moved.max()),
            "spread": float(spread.mean()),
        }
        if self.dataset.labelled:
            clean, shifted = self._errors([record], series.name)
            found["mae_clean"] = float(clean.mean())
            found["mae_shifted"] = float(shifted.mean())
            found["mae_worst"] = float(shifted.mean(2).max())
        return found

    def notes(self, records: Recs) -> tuple[str, ...]:
        """What a figure over several outputs is."""
        if self._count < 2:
            return ()
        return (
            f"figures are means over the {self._count} outputs, each in its own unit; the table of"
            " single outputs tells them apart",
        )


def _spread(values: NDArray[Any]) -> Floats:
    """(n, K, outputs) -> (n, outputs) largest less smallest."""
    wide = values.astype(np.float64)
    return np.asarray(wide.max(1) - wide.min(1))
