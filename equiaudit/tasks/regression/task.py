"""The `Task` of regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.tasks.arrays.task import P95, ArrayTask
from equiaudit.tasks.base import Measure, TruthWords
from equiaudit.tasks.regression.catalog import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from equiaudit.data import Dataset, Place
    from equiaudit.data.reading import Reading
    from equiaudit.models.types import Model


def _moves(change: float, moved: str) -> str:
    if change <= 0:
        return f"The output stays as it is when {moved}"
    return f"The output changes by {change:.3g} on average when {moved}"


class Regression(ArrayTask):
    """Numbers that a shift should leave as they are: an age, a depth, an angle."""

    name = "regression"
    audited_by = "equiaudit.tasks.regression.audit:RegressionAudit"
    output = "numbers (N, K) or (N,)"
    returns = "numbers"
    part = "output"
    of_parts = ("change", "change_max", "spread", "mae_clean", "mae_shifted")
    all_images = True
    whole_numbers = True

    metrics = METRICS
    leading = ("change",)
    change = "change"
    subject = "the output"
    measures = (Measure("change", "mean change, in the unit of the output", _moves),)
    about = (
        (
            "Change",
            "the absolute difference between the outputs for the shifted and the unshifted image, "
            "in the output's own unit; of several outputs, their mean.",
        ),
        P95,
    )
    truth = TruthWords(
        "numbers", "with numbers", "Give --labels FILE.csv: a column file, and one per output."
    )
    means = ("change", "spread", "mae_clean", "mae_shifted", "mae_worst")

    def fits(self, output: Tensor) -> bool:
        """Rows of numbers, also as maps of a single pixel."""
        return output.dim() == 2 or (output.dim() == 4 and output.shape[2:] == (1, 1))

    def taken(self, output: Tensor) -> Tensor:
        """(N, K)"""
        return output.flatten(1)

    def open(
        self, model: Model, data: str | Place, reading: Reading, limit: int | None, seed: int
    ) -> Dataset:
        """With the numbers that --labels has for each image."""
        from equiaudit.data import open_bare_dataset
        from equiaudit.data.reading import OF_MASKS

        reading.refuse(OF_MASKS, f"is of masks, and {model.name} returns numbers", "Leave it out.")
        names = ("class_order", "class_names")
        reading.refuse(names, f"is of classes, and {model.name} returns numbers", "Leave it out.")
        return open_bare_dataset(
            data,
            self.name,
            numbers=reading.labels_place,
            layout=reading.layout,
            limit=limit,
            seed=seed,
        )


TASK = Regression()
