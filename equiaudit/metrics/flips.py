"""Intervals of flip rates: shares of pixels, of which each image has thousands.

`mean_interval` allows for an image that flips altogether, as labels of whole images do. Of a
few dozen segmentations that flip 0.1% of their pixels it says [0, 7%]: true, and of no use. Here
an image is taken to flip at most twice as much as the worst image seen, and at least 5%: flip
rates over that ceiling have a cluster interval, which is scaled back.

Coverage at 95%, in percent, of 30, 100 and 400 images by ``benchmarks/flip_coverage.py`` (1500
audits each, 150 for the lowest and highest of BCa in brackets):

    every image flips 0.1%               100, 100, 97   (92 to 94)
    every image flips 3%                 95, 96, 95     (93 to 98)
    every image flips 20%                96, 95, 96     (91 to 97)
    half of the images flip 4%           94, 95, 94     (93 to 94)
    log-normal, 0.3% in the mean         96, 91, 92     (82 to 93)
    5% of the images flip 20%            76, 94, 96     (75 to 94)
    1% of the images flip 20%            59, 60, 93     (28 to 91)

So a few dozen images say nothing of a failure that is rarer than they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equiaudit.metrics.intervals import mean_interval, ratio_interval
from equiaudit.metrics.paired import PairedLaw, paired_difference
from equiaudit.results.types import Estimate

Floats = NDArray[np.float64]

_LEAST_CEILING = 0.05
_METHOD = "scaled-wilson"


def flip_interval(rates: ArrayLike) -> Estimate:
    """The mean of one flip rate per image, (n,) in [0, 1]."""
    values = np.asarray(rates, np.float64)
    ceiling = _ceiling(values)
    return _scaled(mean_interval(values / ceiling), ceiling)


def flip_ratio(flips: ArrayLike, pixels: ArrayLike) -> Estimate:
    """Sum of `flips` over sum of `pixels`, (n,) each; images without pixels do not count."""
    hits, trials = np.asarray(flips, np.float64), np.asarray(pixels, np.float64)
    used = trials > 0
    ceiling = _ceiling(hits[used] / trials[used])
    return _scaled(ratio_interval(hits / ceiling, trials), ceiling)


def flip_difference(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Mean of b - a for flip rates of the same images."""
    less, more, ceiling = _changes(a, b)
    return _scaled(paired_difference(less, more), ceiling)


def flip_change_bounds(a: ArrayLike, b: ArrayLike) -> Callable[[float], tuple[float, float]]:
    """The bounds of `flip_difference` for any number of images like these."""
    less, more, ceiling = _changes(a, b)
    law = PairedLaw.of(less, more)

    def bounds(n: float) -> tuple[float, float]:
        low, high = law.bounds(n)
        return low * ceiling, high * ceiling

    return bounds


def _changes(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats, float]:
    """Flips less and flips more, over the ceiling, and that."""
    change = np.asarray(b, np.float64) - np.asarray(a, np.float64)
    ceiling = _ceiling(np.abs(change))
    return np.maximum(-change, 0.0) / ceiling, np.maximum(change, 0.0) / ceiling, ceiling


def kept_of(flips: Estimate) -> Estimate:
    """The share that does not flip."""

    def rest(end: float | None) -> float | None:
        return None if end is None else 1 - end

    ends = {"value": rest(flips.value), "low": rest(flips.high), "high": rest(flips.low)}
    return flips.model_copy(update=ends)


def _ceiling(rates: Floats) -> float:
    return min(1.0, max(_LEAST_CEILING, 2 * float(rates.max(initial=0.0))))


def _scaled(estimate: Estimate, ceiling: float) -> Estimate:
    if ceiling == 1:
        return estimate

    def times(end: float | None) -> float | None:
        return None if end is None else end * ceiling

    ends = {name: times(getattr(estimate, name)) for name in ("value", "low", "high")}
    return estimate.model_copy(update={**ends, "method": _METHOD})
