"""The `Task` of models that answer yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.tasks.binary.catalog import METRICS
from equiaudit.tasks.classification.task import Classification

if TYPE_CHECKING:
    from torch import Tensor


class Binary(Classification):
    """The second of two classes where its probability is above the threshold."""

    name = "binary"
    audited_by = "equiaudit.tasks.binary.audit:BinaryAudit"
    output = "one score (N,), (N, 1) or two (N, 2)"
    guessed = False
    decides = "second"

    metrics = METRICS
    about = (
        *Classification.about,
        ("Balanced accuracy", "accuracy of label 1 and of label 0, averaged."),
        (
            "AUROC",
            "the chance that an image with label 1 scores above one with label 0: what accuracy no "
            "threshold decides.",
        ),
    )

    def fits(self, output: Tensor) -> bool:
        """One or two scores."""
        return super().fits(output) and output.shape[1] in (1, 2)


TASK = Binary()
