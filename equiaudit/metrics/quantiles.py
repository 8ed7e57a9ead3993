"""Quantiles of several figures per image, with the image as the sampling unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiaudit.results import Estimate

Floats = NDArray[np.float64]

_RESAMPLES, _LEAST = 2000, 200
_DRAWS = 40_000_000
_CONFIDENCE = 0.95


def pooled_quantile(each: Sequence[Floats], level: float, *, seed: int = 0) -> Estimate:
    """The smallest figure that `level` of all figures do not exceed, over n images.

    `each` has the figures of one image, any number of them. The interval is that of the
    percentile bootstrap over images. Fewer than two images with figures have none.
    """
    n = sum(len(values) > 0 for values in each)
    values = np.concatenate([*each, np.zeros(0)])
    if not n:
        return Estimate(value=None, n=0, method="none")
    image = np.repeat(np.arange(len(each)), [len(v) for v in each])
    order = np.argsort(values, kind="stable")
    values, image = values[order], image[order]
    value = float(values[int(np.ceil(level * len(values))) - 1])
    if n < 2 or values[0] == values[-1]:
        return Estimate(value=value, n=n, method="none")
    found = _resampled(values, image, len(each), level, seed)
    low, high = np.quantile(found, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        n=n,
        method="bootstrap",
        confidence=_CONFIDENCE,
    )


def _resampled(
    values: Floats, image: NDArray[np.int64], images: int, level: float, seed: int
) -> Floats:
    """(resamples,) the quantile of sorted `values` with each image drawn as often as it comes."""
    rng = np.random.default_rng([seed, images])
    count = int(np.clip(_DRAWS // len(values), _LEAST, _RESAMPLES))
    found = np.empty(count)
    for i in range(count):
        drawn = np.bincount(rng.integers(images, size=images), minlength=images)
        reached = np.cumsum(drawn[image])
        place = np.searchsorted(reached, np.ceil(level * reached[-1])) if reached[-1] else 0
        found[i] = values[min(int(place), len(values) - 1)]
    return found
