"""The `Task` of heat maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from equiaudit.tasks.arrays.task import P95, ArrayTask
from equiaudit.tasks.base import Measure, TruthWords
from equiaudit.tasks.heatmap.catalog import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model


def _jumps(way: float, moved: str) -> str:
    if way <= 0:
        return f"Every peak moves with the image when {moved}"
    return f"Peaks land {way:.2g} px from where they belong, on average, when {moved}"


class Heatmap(ArrayTask):
    """A map per key point, whose highest place is taken."""

    name = "heatmap"
    audited_by = "equiaudit.tasks.heatmap.audit:HeatmapAudit"
    output = "maps (N, C, H, W)"
    returns = "heat maps"
    maps = True
    part = "channel"
    of_parts = ("displacement", "displacement_max", "within_1px", "peak_wobble")

    metrics = METRICS
    leading = ("displacement",)
    change = "displacement"
    subject = "the places of peaks"
    measures = (Measure("displacement", "mean displacement", _jumps),)
    about = (
        (
            "Peak",
            "the highest place of a channel; of several that are equally high, the one that is "
            "nearest to where it belongs.",
        ),
        (
            "Displacement",
            "how far, in px of the input, the peak of the shifted image lies from that of the "
            "unshifted one after it is moved back by the shift; around the edges where the shift "
            "is circular.",
        ),
        P95,
    )
    truth = TruthWords("key points", "with key points", "There is no way to give them.")
    means = ("displacement", "within_1px", "within_step", "peak_wobble")

    def fits(self, output: Tensor) -> bool:
        """Maps of more than a pixel."""
        return output.dim() == 4 and output.shape[2:] != (1, 1)

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """Images alone."""
        from equiaudit.data import open_bare_dataset
        from equiaudit.data.reading import OF_MASKS

        self._refuse(reading, ("labels", "class_order", "class_names"), "classes", model)
        self._refuse(reading, OF_MASKS, "masks", model)
        return open_bare_dataset(data, self.name, layout=reading.layout, limit=limit, seed=seed)

    def _refuse(self, reading: Reading, names: Iterable[str], of: str, model: Model) -> None:
        why = f"is of {of}, and {model.name} returns heat maps, audited without any truth"
        reading.refuse(tuple(names), why, "Leave it out.")


TASK = Heatmap()
