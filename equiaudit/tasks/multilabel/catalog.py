"""The metrics of images with several labels."""

from __future__ import annotations

from equiaudit.results import MetricInfo

METRICS = (
    MetricInfo(
        "set_consistency",
        "Set consistency",
        "chance that two random shifts get the same set of labels",
        True,
        compares=True,
        in_short=True,
    ),
    MetricInfo(
        "label_consistency",
        "Label consistency",
        "chance that two random shifts agree on a class, mean over classes",
        True,
        in_short=True,
    ),
    MetricInfo("set_agreement", "Set agreement", "share of shifts that keep the set", True),
    MetricInfo(
        "label_agreement", "Label agreement", "share of decisions that shifts leave alone", True
    ),
    MetricInfo(
        "jaccard",
        "Jaccard",
        "labels in both the shifted and the unshifted set over labels in either",
        True,
    ),
    MetricInfo(
        "f1_micro_clean",
        "F1 micro, unshifted",
        "twice the right labels over true and decided ones, all classes together",
        True,
        needs_truth=True,
        accuracy="F1",
        unshifted=True,
    ),
    MetricInfo(
        "f1_micro_shifted",
        "F1 micro, shifted",
        "the same on a random shift",
        True,
        needs_truth=True,
        in_short=True,
    ),
    MetricInfo(
        "f1_micro_worst",
        "F1 micro, worst",
        "the same, each image at the shift with the most wrong decisions",
        True,
        needs_truth=True,
        in_short=True,
    ),
    MetricInfo(
        "f1_macro_clean",
        "F1 macro, unshifted",
        "mean over classes of the F1 of each",
        True,
        needs_truth=True,
        unshifted=True,
    ),
    MetricInfo(
        "f1_macro_shifted",
        "F1 macro, shifted",
        "the same on a random shift",
        True,
        needs_truth=True,
    ),
    MetricInfo(
        "f1_macro_worst",
        "F1 macro, worst",
        "the same, each image at the shift with the most wrong decisions",
        True,
        needs_truth=True,
    ),
    MetricInfo(
        "set_flipped", "Images whose set changes", "share whose set changes at some shift", False
    ),
)
