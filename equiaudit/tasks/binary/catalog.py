"""The metrics of yes-or-no answers: those of labels, and two that no share of a class rules."""

from __future__ import annotations

from equiaudit.results import MetricInfo
from equiaudit.tasks.classification.catalog import METRICS as OF_LABELS

_BALANCED = "mean of the shares right among images with label 1 and with label 0"
_AUROC = "chance that an image with label 1 scores above one with label 0"

METRICS = (
    *OF_LABELS,
    MetricInfo(
        "balanced_accuracy_clean",
        "Balanced accuracy, unshifted",
        _BALANCED,
        True,
        needs_truth=True,
        unshifted=True,
    ),
    MetricInfo(
        "balanced_accuracy_shifted",
        "Balanced accuracy, shifted",
        f"{_BALANCED}, on a random shift",
        True,
        needs_truth=True,
        in_short=True,
    ),
    MetricInfo("auroc_clean", "AUROC, unshifted", _AUROC, True, needs_truth=True, unshifted=True),
    MetricInfo(
        "auroc_shifted",
        "AUROC, shifted",
        f"{_AUROC}, each at a random shift",
        True,
        needs_truth=True,
        in_short=True,
    ),
)
