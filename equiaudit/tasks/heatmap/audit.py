"""The `TaskAudit` of heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.forward import blank
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.task import Source
from equiaudit.data import Dataset
from equiaudit.errors import InputError
from equiaudit.kinds import Kind
from equiaudit.metrics.dense import largest
from equiaudit.metrics.intervals import mean_interval
from equiaudit.models.types import Model
from equiaudit.results import Estimate, PartFigures
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.arrays.audit import ArrayAudit, Floats, Recs, mean_of, percentile
from equiaudit.tasks.arrays.records import ArrayRecord
from equiaudit.tasks.heatmap.block import DISPLACEMENT, PEAK, HeatmapBlock
from equiaudit.tasks.maps.outputs import upsampling_of

_ROUNDING = 1e-9
_SHARES = ("within_1px", "within_step")


class HeatmapAudit(ArrayAudit):
    """Places compared with places."""

    subject = "displacements"
    columns = ("displacement", "displacement_max", "within_1px", "within_step", "peak_wobble")
    bounded = _SHARES

    def __init__(
        self, model: Model, dataset: Dataset, plan: ShiftPlan, options: ScanOptions
    ) -> None:
        super().__init__(model, dataset, plan, options)
        self.step = upsampling_of(model, blank(model))
        for series in plan.series:
            if type(series.moves).back is not Kind.back and self.step != (1, 1):
                raise InputError(
                    f"{series.name} shifts do more than move pixels, and which pixel of a map that"
                    f" is {self.step[0]} times smaller than the window belongs to which is not"
                    " known.",
                    tip="Leave that kind out of --shifts.",
                )

    def open_block(self, sources: Sequence[Source]) -> HeatmapBlock:
        """Begin with some images."""
        return HeatmapBlock(self.plan, sources, self.step)

    def change(self, record: ArrayRecord, name: str) -> Floats:
        """Mean over the channels whose peak is in both windows."""
        return _means(self.passes(record, DISPLACEMENT, name))

    def metrics(self, series: Series, records: Recs) -> dict[str, Estimate]:
        """Of all channels together."""
        ways = self.stacked(records, DISPLACEMENT, series.name)
        peaks = self.stacked(records, PEAK, series.name)
        return self._figures_of(ways, peaks)

    def _figures_of(
        self, ways: NDArray[np.float64], peaks: NDArray[np.float32]
    ) -> dict[str, Estimate]:
        """Of displacements and values of peaks, both (n, K, channels)."""
        each = _means(ways.reshape(len(ways), -1))
        wobble = peaks.astype(np.float64).max(1) - peaks.astype(np.float64).min(1)
        known = ways[np.isfinite(ways)]
        shares = {name: mean_interval(v) for name, v in self._shares(ways).items()}
        return {
            "displacement": mean_of(each, self.plan.seed),
            "displacement_p95": percentile(ways, int(np.isfinite(each).sum())),
            "displacement_max": largest(known).model_copy(
                update={"n": int(np.isfinite(each).sum())}
            ),
            **shares,
            "peak_wobble": mean_of(wobble.mean(1), self.plan.seed),
        }

    def _shares(self, ways: NDArray[np.float64]) -> dict[str, Floats]:
        """(n',) of the images with a comparison, the share of peaks within a distance."""
        flat = ways.reshape(len(ways), -1)
        there = np.isfinite(flat)
        some = there.any(1)
        count = there[some].sum(1)
        limits = (1.0, math.hypot(*self.step))
        return {
            name: (flat[some] <= limit + _ROUNDING).sum(1) / count
            for name, limit in zip(_SHARES, limits, strict=True)
        }

    def figures(self, series: Series, records: Recs) -> dict[str, Floats]:
        """Shares of peaks near where they belong."""
        if not records:
            return {name: np.zeros(0) for name in _SHARES}
        return self._shares(self.stacked(records, DISPLACEMENT, series.name))

    def parts(self, series: Series, records: Recs) -> tuple[PartFigures, ...]:
        """Each channel by itself."""
        ways = self.stacked(records, DISPLACEMENT, series.name)
        peaks = self.stacked(records, PEAK, series.name)
        by_channel = _means(np.moveaxis(ways, 2, 0).reshape(ways.shape[2], -1))

        def figures(part: int) -> dict[str, Estimate]:
            one = slice(part, part + 1)
            return self._figures_of(ways[..., one], peaks[..., one])

        return self.listed(by_channel, figures)

    def cells(self, series: Series, record: ArrayRecord) -> dict[str, object]:
        """Means and the worst."""
        found = self._figures_of(
            self.stacked([record], DISPLACEMENT, series.name),
            self.stacked([record], PEAK, series.name),
        )
        return {name: e.value for name, e in found.items() if name in self.columns}

    def notes(self, records: Recs) -> tuple[str, ...]:
        """The step of the map, and what could not be compared."""
        notes = []
        if self.step != (1, 1):
            notes.append(
                f"the maps are {self.step[0]}x{self.step[1]} times smaller than the window, so"
                " places are known in steps of that many px"
            )
        flat = sum(int(np.isnan(r.arrays[DISPLACEMENT][0]).sum()) for r in records)
        if flat:
            notes.append(f"{flat} unshifted maps are flat, and have no peak to follow")
        gone = sum(int(np.isnan(r.arrays[DISPLACEMENT][1:]).sum()) for r in records)
        passes = sum(r.arrays[DISPLACEMENT][1:].size for r in records)
        if gone:
            notes.append(
                f"{gone} of {passes} peaks are not compared: the unshifted map is flat, or the"
                " shift took its peak out of the window"
            )
        return tuple(notes)


def _means(values: NDArray[np.float64]) -> Floats:
    """(m, k) -> (m,) means over what is finite, NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(1)
    total = np.where(there, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
