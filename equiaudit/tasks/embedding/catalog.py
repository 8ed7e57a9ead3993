"""The metrics of embeddings."""

from __future__ import annotations

from typing import Any

from equiaudit.results import MetricInfo


def _distance(name: str, title: str, meaning: str, **more: Any) -> MetricInfo:
    return MetricInfo(name, title, meaning, False, upper_bound=2.0, is_share=False, **more)


METRICS = (
    _distance(
        "cosine_distance",
        "Cosine distance",
        "1 - cosine of the shifted and the unshifted embedding, mean over images",
        in_short=True,
    ),
    _distance(
        "cosine_distance_p95",
        "Cosine distance, 95th percentile",
        "of the shifted and the unshifted embedding, over all images and shifts",
    ),
    _distance(
        "cosine_distance_max",
        "Cosine distance, worst",
        "of the shifted and the unshifted embedding, over all images and shifts",
    ),
    MetricInfo(
        "neighbour_consistency",
        "Neighbour consistency",
        "chance that two random shifts have the same nearest other image",
        True,
        in_short=True,
    ),
    MetricInfo(
        "neighbour_kept",
        "Nearest image kept",
        "share of shifts whose nearest other image is that of the unshifted one",
        True,
        in_short=True,
    ),
    MetricInfo(
        "knn_accuracy_clean",
        "5-NN accuracy, unshifted",
        "the label of most of the 5 nearest other images is right",
        True,
        needs_truth=True,
        yes_or_no=True,
        unshifted=True,
    ),
    MetricInfo(
        "knn_accuracy_shifted",
        "5-NN accuracy, shifted",
        "likewise on a random shift",
        True,
        needs_truth=True,
        in_short=True,
    ),
    MetricInfo(
        "knn_accuracy_worst",
        "5-NN accuracy, worst",
        "likewise at every shift tried",
        True,
        needs_truth=True,
        yes_or_no=True,
        in_short=True,
    ),
)
