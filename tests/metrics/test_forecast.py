"""The forecast of images follows the interval that is in use."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equiaudit.comparison import difference_of
from equiaudit.metrics.flips import flip_change_bounds, flip_difference, flip_interval, kept_of
from equiaudit.metrics.forecast import difference_bounds, images_needed
from equiaudit.metrics.intervals import bca_interval, mean_interval, proportion_interval
from equiaudit.metrics.paired import PairedLaw, paired_difference
from equiaudit.results import Estimate


@pytest.mark.parametrize(("k", "n", "threshold"), [(93, 100, 0.95), (46, 50, 0.9), (50, 50, 0.99)])
def test_images_needed_settles_a_proportion(k: int, n: int, threshold: float) -> None:
    needed = images_needed(proportion_interval(k, n), threshold)
    assert needed is not None

    def settled(images: int) -> bool:
        # Fractional counts keep the estimate where it was.
        z2 = stats.norm.ppf(0.975) ** 2
        return (k / n - threshold) ** 2 > z2 * threshold * (1 - threshold) / images

    assert settled(needed + 1)
    assert not settled(needed - 2)


def test_images_needed_settles_a_mean() -> None:
    values = np.random.default_rng(6).beta(8, 1, 60)
    estimate, threshold = mean_interval(values), float(values.mean()) - 0.01
    assert estimate.low < threshold
    needed = images_needed(estimate, threshold)
    assert needed is not None
    enough, short = round(1.05 * needed / 60), round(0.75 * needed / 60)
    assert mean_interval(np.tile(values, enough)).low > threshold
    assert mean_interval(np.tile(values, short)).low < threshold


def test_images_needed_of_other_intervals_scales_with_the_square() -> None:
    estimate = Estimate(value=2.0, low=1.0, high=2.5, n=100, method="bca")
    assert images_needed(estimate, 1.9) == 10_000
    assert images_needed(estimate, 2.25) == 400
    assert images_needed(estimate, 9.0) == 101


def test_no_number_of_images_settles_an_estimate_on_the_threshold() -> None:
    estimate = proportion_interval(19, 20)
    assert images_needed(estimate, 0.95) is None
    assert images_needed(estimate, math.nextafter(0.95, 0)) is None


@pytest.mark.parametrize("estimate", [mean_interval([]), bca_interval([1.0, 1.0])])
def test_images_needed_is_unknown_without_an_interval(estimate: Estimate) -> None:
    assert images_needed(estimate, 0.5) is None


@given(st.integers(1, 99), st.floats(0.001, 0.04))
def test_a_closer_threshold_needs_more_images(k: int, gap: float) -> None:
    estimate = proportion_interval(k, 100)
    near, far = images_needed(estimate, k / 100 - gap / 10), images_needed(estimate, k / 100 - gap)
    assert near is not None
    assert far is not None
    assert near >= far > 100


# the law of each interval ----------------------------------------------------------------------


def holds(estimate: Estimate, threshold: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low < threshold < estimate.high


def settles(interval: object, threshold: float, n: int, needed: int | None) -> None:
    """`interval(k)` is that of the same images k times over: enough settle it, fewer do not."""
    assert needed is not None
    enough, short = math.ceil(1.1 * needed / n), math.floor(0.85 * needed / n)
    assert not holds(interval(enough), threshold)  # type: ignore[operator]
    if short >= 1:
        assert holds(interval(short), threshold)  # type: ignore[operator]


def test_a_drop_where_nothing_changed_is_settled_by_few_hundred_images() -> None:
    same = np.ones(40)
    estimate = paired_difference(same, same)
    needed = images_needed(estimate, 0.01, PairedLaw.of(same, same).bounds)
    assert needed is not None
    assert 380 < needed <= 420
    many = np.ones(needed)
    assert not holds(paired_difference(many, many), 0.01)
    assert holds(paired_difference(many[:-1], many[:-1]), 0.01)


PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=30)


@given(PAIRS, st.integers(1, 20))
def test_the_law_of_pairs_is_the_interval_of_as_many(
    pairs: list[tuple[float, float]], times: int
) -> None:
    a, b = np.array(pairs).T
    found = paired_difference(np.tile(a, times), np.tile(b, times))
    bounds = PairedLaw.of(a, b).bounds(times * len(a))
    assert bounds == pytest.approx((found.low, found.high), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_that_change_are_settled_by_what_is_promised(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = (rng.random(80) < 0.9).astype(float)
    b = np.where(rng.random(80) < 0.05, 1 - a, a)
    estimate = paired_difference(a, b)
    threshold = float(estimate) - 0.02
    needed = images_needed(estimate, threshold, PairedLaw.of(a, b).bounds)
    settles(lambda k: paired_difference(np.tile(a, k), np.tile(b, k)), threshold, 80, needed)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("rates", [np.zeros(30), np.r_[np.zeros(25), np.full(5, 0.02)]])
def test_flips_of_pixels_are_settled_by_what_is_promised(rates: np.ndarray, kept: bool) -> None:
    def interval(k: int) -> Estimate:
        found = flip_interval(np.tile(rates, k))
        return kept_of(found) if kept else found

    threshold = float(rates.mean()) + 0.001
    threshold = 1 - threshold if kept else threshold
    needed = images_needed(interval(1), threshold)
    settles(interval, threshold, 30, needed)


def test_a_change_of_flips_is_settled_by_what_is_promised() -> None:
    a = np.r_[np.zeros(25), np.full(5, 0.02)]
    needed = images_needed(flip_difference(a, a), 0.001, flip_change_bounds(a, a))
    settles(lambda k: flip_difference(np.tile(a, k), np.tile(a, k)), 0.001, 30, needed)


@pytest.mark.parametrize(("k", "m"), [(50, 50), (46, 47), (25, 20)])
def test_two_intervals_are_settled_by_what_is_promised(k: int, m: int) -> None:
    def interval(times: int) -> Estimate:
        return difference_of(
            proportion_interval(times * k, times * 50), proportion_interval(times * m, times * 50)
        )

    threshold = (m - k) / 50 - 0.01
    a, b = proportion_interval(k, 50), proportion_interval(m, 50)
    needed = images_needed(interval(1), threshold, difference_bounds(a, b))
    settles(interval, threshold, 50, needed)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mean_where_nothing_changed_is_settled_by_what_is_promised(value: float) -> None:
    values = np.full(40, value)
    threshold = abs(value - 0.01)
    needed = images_needed(mean_interval(values), threshold)
    settles(lambda k: mean_interval(np.tile(values, k)), threshold, 40, needed)
