"""Confidence intervals with the image as the sampling unit. numpy and scipy.special only.

Which interval is for what:

    means of per-image figures in [0, 1]     `mean_interval`        cluster-wilson
    sums over sums, images as clusters       `ratio_interval`       cluster-wilson
    k images out of n                        `proportion_interval`  wilson
    means of unbounded figures               `bca_interval`         bca

The cluster interval is Wilson's score interval [1] at an effective number of images, n over
the design effect: the variance between images over that of all-or-nothing images of the same
mean [2]. Most images of a good model are perfectly stable, so a small sample often holds too
few unstable ones to estimate that variance (with none, a bootstrap answers [1, 1]); the
design effect is therefore drawn towards its upper bound 1 by a tenth of an all-or-nothing
image. Where every figure is 0 or 1 the count moves outwards by a fifth of an image, a part of
Newcombe's continuity correction [3], since plain Wilson covers 91% at 0.99 of 50 images.

Coverage of `mean_interval` at 95%, lowest to highest over the worlds and numbers of shifts of
``benchmarks/coverage.py``, 6000 audits each (K = 2, where figures are 0 or 1, in brackets):

    truth  50 images              200 images             1000 images
    0.5    93.9 to 95.8 (96.8)    94.3 to 95.5 (95.6)    94.2 to 95.6 (95.4)
    0.9    94.2 to 97.5 (96.8)    94.6 to 95.9 (95.7)    94.5 to 95.7 (94.7)
    0.99   95.0 to 99.9 (98.5)    93.0 to 99.3 (94.8)    94.3 to 96.3 (96.5)

Above 97% are counts and near-counts (K = 4) at 0.99 of 50, where counts can have nothing
between 91.1 and 98.6%, and worlds in which every image wobbles a little and none much. For
comparison at 0.99 of 50: Student's t 39 to 89%, BCa 71%, Wilson at n_eff as it is 54 to 96%.

[1] Wilson 1927, JASA 22:209. [2] Korn & Graubard 1998, Survey Methodology 24:193.
[3] Newcombe 1998, Statistics in Medicine 17:857. [4] Efron 1987, JASA 82:171.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from equiaudit.results.types import Estimate

Floats = NDArray[np.float64]

# Both calibrated by benchmarks/coverage.py: 0.05 lets coverage fall to 90% where instability
# is rare and heavy-tailed, 0.15 and more lifts it above 97% at 0.99.
_PRIOR_IMAGES = 0.1
_CONTINUITY = 0.2

_ROUNDING = 1e-9
_MAX_RESAMPLES = 9999
_MIN_RESAMPLES = 999
_DRAWS = 20_000_000
_CHUNK = 2_000_000


def mean_interval(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The mean of one figure in [0, 1] per image, such as consistency or agreement.

    `values` has shape (n,), one figure per image, over any number of shifts of it. The value
    is None when `values` is empty. Raises ValueError for figures outside [0, 1], NaN or more
    than one dimension.
    """
    shares = _shares(values)
    return _cluster_estimate(shares, np.ones_like(shares), confidence)


def ratio_interval(hits: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Sum of `hits` over sum of `trials`, both of shape (n,), one entry per image.

    `trials` counts the image's shifts or pairs and `hits` those that agree, which may be
    fractional. Images with no trials do not count. With equal trials this is `mean_interval`
    of the shares. Raises ValueError for other shapes, NaN, or hits outside [0, trials].
    """
    hit, trial = _vector(hits, "hits"), _vector(trials, "trials")
    if hit.shape != trial.shape:
        raise ValueError(f"expected as many hits as trials, got {hit.size} and {trial.size}")
    if (trial < 0).any():
        raise ValueError("expected trials of 0 or more")
    if (hit[trial == 0] != 0).any():
        raise ValueError("expected no hits where there are no trials")
    used = trial > 0
    return _cluster_estimate(_shares(hit[used] / trial[used]), trial[used], confidence)


def proportion_interval(k: int, n: int, *, confidence: float = 0.95) -> Estimate:
    """`k` images out of `n`, by Wilson's score interval: 93 of 100 is [0.86, 0.97].

    Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n, got k={k} and n={n}")
    if n == 0:
        return _nothing("wilson", confidence)
    low, high = wilson_bounds(k / n, n, confidence)
    return Estimate(value=k / n, low=low, high=high, n=n, method="wilson", confidence=confidence)


def bca_interval(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """The mean of one unbounded figure per image, by the BCa bootstrap [4] over images.

    `values` has shape (n,). The result depends on the values and on `seed`, not on their
    order. Fewer than two values, or values that are all equal, say nothing about the spread:
    `low` and `high` are then None and the method is "none". Takes 9999 resamples up to 2000
    images and fewer beyond, never less than 999. Raises ValueError for NaN or infinity.
    """
    sample = np.sort(_vector(values, "values"))
    if sample.size == 0:
        return _nothing("bca", confidence)
    mean = float(sample.mean())
    if sample[0] == sample[-1]:
        value = float(sample[0])
        return Estimate(value=value, n=sample.size, method="none", confidence=confidence)
    means = _resampled_means(sample, seed)
    low, high = np.quantile(means, _bca_levels(sample, means, confidence))
    return Estimate(
        value=mean,
        low=min(float(low), mean),
        high=max(float(high), mean),
        n=sample.size,
        method="bca",
        confidence=confidence,
    )


def wilson_bounds(p: float, n: float, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share `p` of `n` images; `n` may be fractional."""
    z2 = quantile(confidence) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half_width = sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At 0 and 1 the two terms cancel, up to rounding.
    low = 0.0 if p == 0 else min(max(centre - half_width, 0.0), p)
    high = 1.0 if p == 1 else max(min(centre + half_width, 1.0), p)
    return low, high


@dataclass(frozen=True)
class ClusterLaw:
    """The cluster interval of a weighted mean of shares, as a function of the number of images.

    `mean` and `variance` are those between images, `images` is Kish's number of equally weighted
    images per image, and `all_or_nothing` tells figures that are all 0 or 1.
    """

    mean: float
    variance: float
    images: float
    all_or_nothing: bool

    @classmethod
    def of(cls, shares: Floats, weights: Floats | None = None) -> ClusterLaw:
        """From one share per image, (n,) in [0, 1] with n >= 1, and weights above 0."""
        weights = np.ones_like(shares) if weights is None else weights
        mean, scale = _weighted_mean(shares, weights), float((weights**2).mean())
        return cls(
            mean,
            float(((weights * (shares - mean)) ** 2).mean() / scale),
            float(weights.sum() ** 2 / (shares.size**2 * scale)),
            bool(np.minimum(shares, 1 - shares).max() < _ROUNDING),
        )

    def bounds(self, n: float, confidence: float) -> tuple[float, float]:
        """Those of `n` images like these."""
        images = self.images * n / self._design_effect(n)
        moved = _CONTINUITY / images if self.all_or_nothing else 0.0
        low, _ = wilson_bounds(max(self.mean - moved, 0.0), images, confidence)
        _, high = wilson_bounds(min(self.mean + moved, 1.0), images, confidence)
        return low, high

    def _design_effect(self, n: float) -> float:
        """Shrunk towards that of figures of all or nothing, and never above it."""
        if n <= 1:
            return 1.0
        between = n * self.variance * n / (n - 1) + _PRIOR_IMAGES
        return min(between / (n * self.mean * (1 - self.mean) + _PRIOR_IMAGES), 1.0)


def _cluster_estimate(shares: Floats, weights: Floats, confidence: float) -> Estimate:
    if shares.size == 0:
        return _nothing("cluster-wilson", confidence)
    law = ClusterLaw.of(shares, weights)
    low, high = law.bounds(shares.size, confidence)
    return Estimate(
        value=law.mean,
        low=low,
        high=high,
        n=shares.size,
        method="cluster-wilson",
        confidence=confidence,
    )


def _weighted_mean(shares: Floats, weights: Floats) -> float:
    # The sum of many equal shares may round to just outside [0, 1].
    return float(np.clip((weights * shares).sum() / weights.sum(), 0.0, 1.0))


def _resampled_means(sample: Floats, seed: int) -> Floats:
    """Means of resamples of `sample`, drawn in chunks of bounded memory."""
    n = sample.size
    total = min(_MAX_RESAMPLES, max(_MIN_RESAMPLES, _DRAWS // n))
    rows = max(1, _CHUNK // n)
    rng = np.random.default_rng(seed)
    sizes = [min(rows, total - start) for start in range(0, total, rows)]
    chunks = [sample[rng.integers(0, n, (size, n), dtype=np.int32)].mean(axis=1) for size in sizes]
    return np.concatenate(chunks)


def _bca_levels(sample: Floats, means: Floats, confidence: float) -> Floats:
    """The two quantile levels of `means`, corrected for bias and skewness [4]."""
    deviation = sample - sample.mean()
    deviation = deviation / np.abs(deviation).max()  # so that cubes neither vanish nor overflow
    # The jackknife of a mean in closed form.
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    below = ((means < sample.mean()).mean() + (means <= sample.mean()).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / means.size, 1 - 0.5 / means.size))
    shifted = bias + np.array([-1.0, 1.0]) * quantile(confidence)
    # |acceleration| <= 1/6, so only a confidence beyond 99.9% can reach the pole.
    levels: Floats = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    return levels


def quantile(confidence: float) -> float:
    """Of the standard normal distribution: 1.96 at 0.95."""
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    return float(ndtri(0.5 + confidence / 2))


def _vector(values: ArrayLike, name: str) -> Floats:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"expected {name} of shape (n,), got {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"expected finite {name}, got NaN or infinity")
    return vector


def _shares(values: ArrayLike) -> Floats:
    shares = _vector(values, "values")
    if (shares < -_ROUNDING).any() or (shares > 1 + _ROUNDING).any():
        raise ValueError(f"expected values in [0, 1], got {shares.min()} to {shares.max()}")
    return np.clip(shares, 0.0, 1.0)


def _nothing(method: str, confidence: float) -> Estimate:
    return Estimate(value=None, n=0, method=method, confidence=confidence)
