"""The metrics of classifiers."""

from __future__ import annotations

from equiaudit.results import MetricInfo

_TIPS = ("tips-standard", "tips-circular")

METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        "consistency",
        "Consistency",
        "chance that two random shifts agree",
        True,
        compares=True,
        in_short=True,
    ),
    MetricInfo("agreement", "Agreement", "share of shifts that keep the unshifted label", True),
    MetricInfo(
        "accuracy_clean",
        "Accuracy, unshifted",
        "right on the unshifted image",
        True,
        needs_truth=True,
        yes_or_no=True,
        accuracy="Accuracy",
        unshifted=True,
    ),
    MetricInfo(
        "accuracy_shifted",
        "Accuracy, shifted",
        "right on a random shift",
        True,
        needs_truth=True,
        in_short=True,
    ),
    MetricInfo(
        "accuracy_worst",
        "Accuracy, worst",
        "right at every shift tried",
        True,
        needs_truth=True,
        yes_or_no=True,
        in_short=True,
    ),
    MetricInfo(
        "consistency_correct",
        "Consistency, where right",
        "consistency of the images that are right at least once",
        True,
        needs_truth=True,
    ),
    MetricInfo("flipped", "Images that flip", "share whose label changes at some shift", False),
    MetricInfo(
        "flip_radius",
        "Flip radius",
        "smallest tried shift that changes the label, mean over the images that flip",
        True,
        upper_bound=None,
        is_share=False,
        unit="px",
    ),
    MetricInfo(
        "confidence_wobble",
        "Confidence wobble",
        "largest less smallest probability of the unshifted label over the shifts",
        False,
        needs_scores=True,
    ),
    MetricInfo(
        "logit_error",
        "Logit error",
        "largest logit change over the range of the unshifted logits, mean over images",
        False,
        needs_scores=True,
        upper_bound=None,
        is_share=False,
    ),
    MetricInfo(
        "logit_error_max",
        "Logit error, worst image",
        "largest logit change over the range of the unshifted logits",
        False,
        needs_scores=True,
        upper_bound=None,
        is_share=False,
    ),
    MetricInfo(
        "accuracy_robust",
        "Accuracy, worst or unshifted",
        "right unshifted and at every shift tried",
        True,
        kinds=("alias-free-integer", "alias-free-half", "alias-free-fractional"),
        needs_truth=True,
        yes_or_no=True,
    ),
    MetricInfo(
        "stability",
        "Stability",
        "share of images whose two shifted labels are both the unshifted one",
        True,
        kinds=_TIPS,
        yes_or_no=True,
    ),
    MetricInfo(
        "fidelity",
        "Fidelity",
        "share of images whose two shifted labels and the unshifted one are the true one",
        True,
        kinds=_TIPS,
        needs_truth=True,
        yes_or_no=True,
    ),
)
