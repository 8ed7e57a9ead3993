"""How many images would settle a question, by the law of the interval that asks it.

An interval of n images is taken for that of more images like them. Wilson's narrows as 1 / n
where nothing or everything was counted and as 1 / sqrt(n) in between, so that a general rule
would be wrong by a factor of ten just where a model is good.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from equiaudit.metrics.intervals import quantile, wilson_bounds
from equiaudit.results.types import Estimate

Bounds: TypeAlias = Callable[[float], tuple[float, float]]
"""The interval that a number of images would have."""

_MOST_IMAGES = 1e9


def images_needed(estimate: Estimate, threshold: float, bounds: Bounds | None = None) -> int | None:
    """The least number of images whose interval leaves `threshold` on one side.

    Takes the estimate for the truth. `bounds` is the interval's law, that of `bounds_of` where
    it is None. Never fewer than one more than there were; None when there is no interval, or a
    billion images would not do.
    """
    law = bounds or bounds_of(estimate)
    if law is None:
        return None

    def settled(images: float) -> bool:
        low, high = law(images)
        return not low < threshold < high

    short, enough = estimate.n, estimate.n + 1
    while not settled(enough):
        short, enough = enough, 2 * enough
        if enough > _MOST_IMAGES:
            return None
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if settled(middle) else (middle, enough)
    return enough


def bounds_of(estimate: Estimate) -> Bounds | None:
    """The law of an interval, from its ends; None where there is none.

    Of Wilson's the design effect stays what it was; others narrow as 1 / sqrt(n).
    """
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None or low is None or high is None:
        return None
    if estimate.method in ("wilson", "cluster-wilson"):
        return _wilson(value, low, high, estimate)
    if estimate.method == "scaled-wilson":
        return _scaled(value, low, high, estimate)
    return _square_root(value, low, high, estimate.n)


def difference_bounds(a: Estimate, b: Estimate) -> Bounds | None:
    """The law of `comparison.difference_of` for b - a: of two intervals taken for independent."""
    first, second = bounds_of(a), bounds_of(b)
    if first is None or second is None or a.value is None or b.value is None:
        return None
    before, after = a.value, b.value

    def bounds(n: float) -> tuple[float, float]:
        (a_low, a_high), (b_low, b_high) = first(n), second(n)
        down = math.hypot(after - b_low, a_high - before)
        up = math.hypot(b_high - after, before - a_low)
        return after - before - down, after - before + up

    return bounds


def _square_root(value: float, low: float, high: float, n: int) -> Bounds:
    def bounds(images: float) -> tuple[float, float]:
        shrunk = math.sqrt(n / images)
        return value - (value - low) * shrunk, value + (high - value) * shrunk

    return bounds


def _wilson(value: float, low: float, high: float, estimate: Estimate) -> Bounds:
    per_image = _effective(value, low, high, estimate.confidence) / estimate.n
    return lambda images: wilson_bounds(value, per_image * images, estimate.confidence)


def _effective(value: float, low: float, high: float, confidence: float) -> float:
    """The number of images in Wilson's interval with these ends.

    They are the roots of (1 + z^2/n) t^2 - (2p + z^2/n) t + p^2, so their product says n; of
    the shares that are left their product says the same, and more exactly where p is small.
    """
    z2 = quantile(confidence) ** 2
    p, product = (value, low * high) if value > 0.5 else (1 - value, (1 - low) * (1 - high))
    excess = p * p / product - 1 if product > 0 else 0.0
    return z2 / excess if excess > 0 else math.inf


def _scaled(value: float, low: float, high: float, estimate: Estimate) -> Bounds:
    """Of shares below a ceiling c, or above 1 - c: the sum of the ends says c."""
    if value > 0.5:
        rest = _scaled(1 - value, 1 - high, 1 - low, estimate)

        def bounds(images: float) -> tuple[float, float]:
            below, above = rest(images)
            return 1 - above, 1 - below

        return bounds
    ceiling = _ceiling(value, low, high, estimate.confidence)
    inner = _wilson(value / ceiling, low / ceiling, high / ceiling, estimate)
    return lambda images: tuple(ceiling * end for end in inner(images))  # type: ignore[return-value]


def _ceiling(value: float, low: float, high: float, confidence: float) -> float:
    """c of (p, low, high) = c * Wilson's of a share of n images.

    The product of the ends says n without c, and their sum is (2p + c z^2/n) / (1 + z^2/n).
    """
    least = 0.05
    if low <= 0:
        return max(least, 2 * value)
    excess = value * value / (low * high) - 1
    ceiling = ((low + high) * (1 + excess) - 2 * value) / excess if excess > 0 else 1.0
    return min(max(ceiling, high, least), 1.0)
