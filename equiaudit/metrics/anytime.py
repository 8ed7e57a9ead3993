"""Bounds that hold however often they are looked at. numpy only.

A scan that ends as soon as its figures are settled has looked at them many times, and an
interval for a fixed number of images is then wrong more often than it says. A betting
confidence sequence [1] holds at all times at once. To test that the mean of figures x in [0, 1]
is at most m, a gambler stakes a share c of the capital on every image, which is multiplied by

    1 - c + c x / m,

a fair game at best if the mean is at most m, so the capital exceeds 1 / a with probability at
most a, ever (Ville). The stake that grows fastest depends on a truth nobody knows, so the
capital is divided over the stakes 1, 3/4, 1/2, 1/4, ... and each share is left to grow [2]. The
lower bound is the largest m at which the capital has reached 2 / (1 - confidence); it exists
because every factor falls as m rises. The upper bound is the lower bound of 1 - x, turned over.

The bound needs each image to be a fresh draw from what is asked about, which the random order
of a scan provides for the population that the folder samples. It does not depend on the order
of the images it is given.

[1] Waudby-Smith & Ramdas 2024, JRSS B 86:1, section 4. [2] Cover 1991, Math. Finance 1:1.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equiaudit.results.types import Estimate

METHOD = "betting-cs"
"""`Estimate.method` of these intervals."""

_STAKES = np.array([1.0, 0.75, *(0.5 ** np.arange(1, 11))])
"""Below 2^-10 a stake takes about a million images to count."""
_HALVINGS = 40
_ROUNDING = 1e-9

Floats = NDArray[np.float64]


def betting_interval(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The mean of one figure in [0, 1] per image, with bounds that hold at all times at once.

    `values` has shape (n,). The value is None when it is empty. Raises ValueError for figures
    outside [0, 1], NaN or more than one dimension.
    """
    shares = _shares(values)
    if shares.size == 0:
        return Estimate(value=None, n=0, method=METHOD, confidence=confidence)
    mean = float(np.clip(shares.mean(), 0.0, 1.0))
    low, high = betting_bounds(shares, confidence=confidence)
    return Estimate(
        value=mean,
        low=min(low, mean),
        high=max(high, mean),
        n=shares.size,
        method=METHOD,
        confidence=confidence,
    )


def betting_bounds(values: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) of `betting_interval`; (0, 1) without any value."""
    shares, goal = _shares(values), _goal(confidence)
    distinct, counts = np.unique(shares, return_counts=True)
    return _lower(distinct, counts, goal), 1 - _lower(1 - distinct, counts, goal)


def log_capital(values: ArrayLike, mean: float) -> Floats:
    """Logarithm of the capital against "the mean is at most `mean`" after every image.

    `values` in [0, 1] has shape (..., n), any number of streams of n images; so has the
    result. `mean` lies in (0, 1].
    """
    shares = _in_range(np.asarray(values, np.float64))
    if not 0 < mean <= 1:
        raise ValueError(f"expected a mean in (0, 1], got {mean}")
    capital = np.full(shares.shape, -np.inf)
    for stake in _STAKES:
        np.logaddexp(capital, np.cumsum(_growth(shares, mean, stake), axis=-1), out=capital)
    return capital - log(len(_STAKES))


def _lower(distinct: Floats, counts: NDArray[np.intp], goal: float) -> float:
    """The largest mean whose capital reached `goal`, from below, to within 2^-40."""
    if not distinct.size:
        return 0.0
    low, high = 0.0, float(distinct @ counts / counts.sum())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle > 0 and _log_capital_of(distinct, counts, middle) >= goal:
            low = middle
        else:
            high = middle
    return low


def _log_capital_of(distinct: Floats, counts: NDArray[np.intp], mean: float) -> float:
    capitals = _growth(distinct, mean, _STAKES[:, None]) @ counts
    return float(np.logaddexp.reduce(capitals)) - log(len(_STAKES))


def _growth(shares: Floats, mean: float, stakes: Floats | float) -> Floats:
    """log(1 - c + c x / m): -inf where everything was staked and lost."""
    with np.errstate(divide="ignore"):
        growth: Floats = np.log((1 - stakes) + stakes * (shares / mean))
    return growth


def _goal(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    return log(2 / (1 - confidence))


def _shares(values: ArrayLike) -> Floats:
    shares = np.asarray(values, np.float64)
    if shares.ndim != 1:
        raise ValueError(f"expected values of shape (n,), got {shares.shape}")
    return _in_range(shares)


def _in_range(shares: Floats) -> Floats:
    if not ((shares >= -_ROUNDING) & (shares <= 1 + _ROUNDING)).all():  # NaN is in neither
        raise ValueError("expected values in [0, 1]")
    return np.clip(shares, 0.0, 1.0)
