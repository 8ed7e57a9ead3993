"""The metrics of heat maps, in px of the input."""

from __future__ import annotations

from typing import Any

from equiaudit.results import MetricInfo


def _way(name: str, title: str, meaning: str, **more: Any) -> MetricInfo:
    settings = {"upper_bound": None, "is_share": False, "unit": "px"} | more
    return MetricInfo(name, title, meaning, False, **settings)


METRICS = (
    _way(
        "displacement",
        "Displacement",
        "from the peak of the unshifted map to that of the shifted one, moved back, mean over "
        "images",
        in_short=True,
    ),
    _way(
        "displacement_p95",
        "Displacement, 95th percentile",
        "of all images, shifts and channels",
    ),
    _way("displacement_max", "Displacement, worst", "of all images, shifts and channels"),
    MetricInfo(
        "within_1px",
        "Within 1 px",
        "share of peaks, moved back, at most 1 px from the unshifted one",
        True,
        in_short=True,
    ),
    MetricInfo(
        "within_step",
        "Within the map's step",
        "share of peaks, moved back, at most a diagonal of the map's pixel from the unshifted one",
        True,
    ),
    _way(
        "peak_wobble",
        "Peak wobble",
        "largest less smallest value of a peak over the shifts, mean over images",
        unit="",
    ),
)
