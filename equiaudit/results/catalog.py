"""Every metric a gate, a plot or a table may name, with its direction and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "MetricInfo", "metric_info"]


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is: `name` as in ``circular.consistency`` after the dot."""

    name: str
    title: str
    meaning: str
    higher_is_better: bool
    lower_bound: float = 0.0
    upper_bound: float | None = 1.0
    is_share: bool = True
    """Shown as a percentage."""
    unit: str = ""


_CLASSIFICATION = (
    MetricInfo("consistency", "Consistency", "chance that two random shifts agree", True),
    MetricInfo("agreement", "Agreement", "share of shifts that keep the unshifted label", True),
    MetricInfo("accuracy_clean", "Accuracy, unshifted", "right on the unshifted image", True),
    MetricInfo("accuracy_shifted", "Accuracy, shifted", "right on a random shift", True),
    MetricInfo("accuracy_worst", "Accuracy, worst", "right at every shift tried", True),
    MetricInfo(
        "consistency_correct",
        "Consistency, where right",
        "consistency of the images that are right at least once",
        True,
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
    ),
    MetricInfo(
        "logit_error",
        "Logit error",
        "largest logit change over the range of the unshifted logits, mean over images",
        False,
        upper_bound=None,
        is_share=False,
    ),
    MetricInfo(
        "logit_error_max",
        "Logit error, worst image",
        "largest logit change over the range of the unshifted logits",
        False,
        upper_bound=None,
        is_share=False,
    ),
)

METRICS: dict[str, MetricInfo] = {info.name: info for info in _CLASSIFICATION}


def metric_info(name: str) -> MetricInfo:
    """Look a metric up by ``metric`` or ``kind.metric``; KeyError when there is none."""
    return METRICS[name.rpartition(".")[2]]
