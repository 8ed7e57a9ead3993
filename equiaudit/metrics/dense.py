"""Figures of maps: pooled IoU, flip profiles, means and worst cases. Images are the unit.

n images, C classes. Scores are counts of pixels (n, C, 3): right (predicted and true), true,
predicted. They add up over shifts, so an IoU over many images is the ratio of the sums, as
benchmarks define it, and not a mean of ratios that small objects would rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from equiaudit.metrics.intervals import bca_interval
from equiaudit.results import Estimate

Floats = NDArray[np.float64]
Ratio = Callable[[Floats], Floats]

_RESAMPLES = 2000
_CHUNK = 100
_CONFIDENCE = 0.95


def iou(scores: Floats) -> Floats:
    """(..., C, 3) counts -> (..., C) intersection over union, NaN where both are empty."""
    right, true, predicted = scores[..., 0], scores[..., 1], scores[..., 2]
    union = true + predicted - right
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(right / union)


def f1(scores: Floats) -> Floats:
    """(..., C, 3) counts -> (..., C) twice the right over true and predicted, NaN where neither."""
    right, true, predicted = scores[..., 0], scores[..., 1], scores[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * right / (true + predicted))


def mean_iou(scores: Floats) -> Floats:
    """(..., C, 3) counts -> (...) mean over the classes that were true or predicted anywhere."""
    return mean_of(iou, scores)


def mean_of(ratio: Ratio, scores: Floats) -> Floats:
    """(..., C, 3) counts -> (...) mean `ratio` of the classes that have one."""
    each = ratio(scores)
    present = np.isfinite(each)
    total = np.where(present, each, 0.0).sum(axis=-1)
    count = present.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def iou_estimates(
    scores: Floats, *, seed: int = 0, ratio: Ratio = iou
) -> tuple[Estimate, list[Estimate]]:
    """mIoU and the IoU of each class, over the sums of (n, C, 3) counts of n images.

    Or the mean and each class of another `ratio` of such sums.

    Intervals by the BCa bootstrap over images (Efron 1987). A class that is neither true nor
    predicted anywhere has no value and does not count in the mean; nor do resamples without
    it. Where fewer than two images speak, or all resamples are equal, there is no interval.
    """

    def figures(sums: Floats) -> Floats:
        return np.concatenate([mean_of(ratio, sums)[..., None], ratio(sums)], axis=-1)

    values = figures(scores.sum(axis=0))
    resampled = figures(_resampled_sums(scores, seed))
    left_out = figures(scores.sum(axis=0)[None] - scores)
    speaking = (scores.sum(axis=2) > 0).sum(axis=0)
    counts = [len(scores), *speaking.tolist()]
    mean, *each = (
        _bca(float(values[i]), resampled[:, i], left_out[:, i], n) for i, n in enumerate(counts)
    )
    return mean, each


def iou_difference(a: Floats, b: Floats, *, seed: int = 0, ratio: Ratio = iou) -> Estimate:
    """mIoU of b less that of a, over the sums of (n, C, 3) counts each of the same n images.

    The interval is that of the BCa bootstrap over images, both counts of one drawn together.
    """

    def figures(sums: Floats) -> Floats:
        return mean_of(ratio, sums[..., 1, :, :]) - mean_of(ratio, sums[..., 0, :, :])

    both = np.stack([a, b], axis=1)
    total = both.sum(axis=0)
    resampled = figures(_resampled_sums(both, seed))
    return _bca(float(figures(total)), resampled, figures(total[None] - both), len(both))


def _resampled_sums(scores: Floats, seed: int) -> Floats:
    """(B, ...) sums over (n, ...) images drawn with replacement, a chunk of resamples at a time."""
    n = len(scores)
    rng = np.random.default_rng(seed)
    chunks = []
    for _ in range(_RESAMPLES // _CHUNK):
        times = rng.multinomial(n, np.full(n, 1 / n), size=_CHUNK).astype(np.float64)
        chunks.append(times @ scores.reshape(n, -1))
    return np.concatenate(chunks).reshape(_RESAMPLES, *scores.shape[1:])


def _bca(value: float, resampled: Floats, left_out: Floats, n: int) -> Estimate:
    found, jackknife = resampled[np.isfinite(resampled)], left_out[np.isfinite(left_out)]
    if not np.isfinite(value):
        return Estimate(value=None, n=0, method="bca")
    if n < 2 or np.ptp(found) == 0 or np.ptp(jackknife) == 0:
        return Estimate(value=value, n=n, method="none")
    low, high = np.quantile(found, _levels(value, found, jackknife))
    return Estimate(
        value=value, low=min(float(low), value), high=max(float(high), value), n=n, method="bca"
    )


def _levels(value: float, resampled: Floats, left_out: Floats) -> Floats:
    """The two quantile levels, corrected for bias and for skewness by the jackknife."""
    deviation = left_out.mean() - left_out
    deviation = deviation / np.abs(deviation).max()
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / resampled.size, 1 - 0.5 / resampled.size))
    shifted = bias + np.array([-1.0, 1.0]) * ndtri(0.5 + _CONFIDENCE / 2)
    levels: Floats = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    return levels


def largest(values: Floats) -> Estimate:
    """The maximum of (n,) figures, without an interval."""
    return _extreme(values, np.max)


def smallest(values: Floats) -> Estimate:
    """The minimum of (n,) figures, without an interval."""
    return _extreme(values, np.min)


def _extreme(values: Floats, of: Callable[[Floats], np.floating]) -> Estimate:
    value = float(of(values)) if len(values) else None
    return Estimate(value=value, n=len(values), method="none")


def mean_difference(a: Floats, b: Floats) -> Estimate:
    """Mean of b - a for unbounded figures (n,) of the same images."""
    return bca_interval(np.asarray(b - a))
