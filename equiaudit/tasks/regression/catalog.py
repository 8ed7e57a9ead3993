"""The metrics of regression, in the unit of the output."""

from __future__ import annotations

from typing import Any

from equiaudit.results import MetricInfo


def _number(name: str, title: str, meaning: str, **more: Any) -> MetricInfo:
    return MetricInfo(name, title, meaning, False, upper_bound=None, is_share=False, **more)


METRICS = (
    _number(
        "change",
        "Change",
        "how far a shift moves an output, either way, mean over images",
        in_short=True,
    ),
    _number("change_p95", "Change, 95th percentile", "of all images, shifts and outputs"),
    _number("change_max", "Change, worst", "of all images, shifts and outputs"),
    _number(
        "spread",
        "Spread",
        "largest less smallest output over the shifts, mean over images",
        in_short=True,
    ),
    _number(
        "mae_clean",
        "MAE, unshifted",
        "mean absolute error of the unshifted output",
        needs_truth=True,
        unshifted=True,
    ),
    _number("rmse_clean", "RMSE, unshifted", "root of the mean squared error", needs_truth=True),
    _number(
        "mae_shifted",
        "MAE, shifted",
        "mean absolute error over the shifts",
        needs_truth=True,
        in_short=True,
    ),
    _number(
        "rmse_shifted",
        "RMSE, shifted",
        "root of the mean squared error over the shifts",
        needs_truth=True,
    ),
    _number(
        "mae_worst",
        "MAE, worst shift",
        "mean absolute error, each image at the shift that is worst for it",
        needs_truth=True,
        in_short=True,
    ),
    _number(
        "rmse_worst",
        "RMSE, worst shift",
        "root of the mean squared error, each image at the shift that is worst for it",
        needs_truth=True,
    ),
)
