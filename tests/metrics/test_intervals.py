from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats

from equiaudit.metrics.intervals import (
    bca_interval,
    mean_interval,
    proportion_interval,
    ratio_interval,
)
from equiaudit.results import Estimate

Floats = NDArray[np.float64]
Bounds = Callable[[Floats], tuple[float, float]]

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
REPLICATIONS = 1500


# Coverage: an audit shows the consistency of n images over K shifts; the truth is known -------


def coin_flippers(rng: np.random.Generator, truth: float, n: int, k: int) -> Floats:
    """Images flip between two labels with probability q ~ U(0, 1), or never."""
    unstable = rng.random(n) < 3 * (1 - truth)
    heads = rng.binomial(k, np.where(unstable, rng.random(n), 0.0))
    return (heads * (heads - 1) + (k - heads) * (k - heads - 1)) / (k * (k - 1))


def all_wobble(rng: np.random.Generator, truth: float, n: int, k: int) -> Floats:
    """Every image wobbles: the main label has probability sqrt(theta), theta ~ Beta."""
    main = rng.binomial(k, np.sqrt(rng.beta(1.6 * truth, 1.6 * (1 - truth), n)))
    return main * (main - 1) / (k * (k - 1))


def any_shift(rng: np.random.Generator, truth: float, n: int, k: int) -> Floats:
    """A share of the images has consistency ~ Beta(1.2, 1.8) over all shifts."""
    unstable = rng.random(n) < (1 - truth) / 0.6
    return np.where(unstable, rng.beta(1.2, 1.8, n), 1.0)


def rare_plunges(rng: np.random.Generator, truth: float, n: int, k: int) -> Floats:
    """Nearly every image is almost stable; a few are not at all."""
    return rng.beta(0.43 * truth, 0.43 * (1 - truth), n)


def coverage(world: Callable[..., Floats], truth: float, n: int, k: int, bounds: Bounds) -> float:
    rng = np.random.default_rng([n, k, int(100 * truth)])
    intervals = [bounds(world(rng, truth, n, k)) for _ in range(REPLICATIONS)]
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def ours(values: Floats) -> tuple[float, float]:
    estimate = mean_interval(values)
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def student(values: Floats) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def percentile_bootstrap(values: Floats) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(0, len(values), (500, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return low, high


def wilson_at_n(values: Floats) -> tuple[float, float]:
    estimate = proportion_interval(round(values.sum()), len(values))
    return float(estimate.low or 0), float(estimate.high or 1)


def holds(share: float, low: float, high: float) -> bool:
    """Within [low, high], but for three standard errors of the simulation."""
    error = 3 * math.sqrt(0.95 * 0.05 / REPLICATIONS)
    return low - error <= share <= high + error


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize(
    ("world", "truth", "k"),
    [
        (all_wobble, 0.5, 2),
        (all_wobble, 0.5, 16),
        (any_shift, 0.5, 0),
        (coin_flippers, 0.9, 2),
        (coin_flippers, 0.9, 4),
        (coin_flippers, 0.9, 16),
        (all_wobble, 0.9, 16),
        (any_shift, 0.9, 0),
        (coin_flippers, 0.99, 4),
        (coin_flippers, 0.99, 16),
        (all_wobble, 0.99, 4),
        (any_shift, 0.99, 0),
        (rare_plunges, 0.99, 0),
    ],
)
def test_covers_the_truth_93_to_97_percent_of_the_time(
    world: Callable[..., Floats], truth: float, n: int, k: int
) -> None:
    assert holds(coverage(world, truth, n, k, ours), 0.93, 0.97)


@pytest.mark.parametrize(("n", "most"), [(50, 0.99), (200, 0.97), (1000, 0.97)])
def test_covers_where_each_image_just_agrees_or_not(n: int, most: float) -> None:
    # At n = 50 only 60.5, 91.1, 98.6 or 99.8% can be had, see below.
    assert holds(coverage(coin_flippers, 0.99, n, 2, ours), 0.93, most)


def test_no_interval_of_counts_covers_93_to_97_percent_at_99_of_50() -> None:
    # An interval rule covers 0.99 for a run of counts; those runs that hold the likeliest
    # count (no misses) have these probabilities, and a run without it stays below 40%.
    at_most = stats.binom.cdf(np.arange(6), 50, 0.01)
    assert not ((at_most >= 0.93) & (at_most <= 0.97)).any()
    assert 1 - at_most[0] < 0.4


@pytest.mark.parametrize("control", [student, percentile_bootstrap])
def test_control_the_usual_intervals_fail_at_99_of_50(control: Bounds) -> None:
    assert not holds(coverage(coin_flippers, 0.99, 50, 16, control), 0.93, 1.0)


def test_control_treating_images_as_coins_covers_too_much() -> None:
    assert not holds(coverage(all_wobble, 0.9, 200, 16, wilson_at_n), 0.0, 0.97)


def test_neither_side_misses_more_than_one_in_twenty() -> None:
    rng = np.random.default_rng(5)
    bounds = np.array([ours(coin_flippers(rng, 0.95, 200, 16)) for _ in range(REPLICATIONS)])
    assert (bounds[:, 0] > 0.95).mean() < 0.05
    assert (bounds[:, 1] < 0.95).mean() < 0.05


# mean_interval --------------------------------------------------------------------------------


def test_fifty_stable_images_do_not_prove_stability() -> None:
    estimate = mean_interval(np.ones(50))
    assert (estimate.value, estimate.high, estimate.n) == (1.0, 1.0, 50)
    assert estimate.method == "cluster-wilson"
    # Between the exact one-sided (rule of three) bound and the exact two-sided one.
    assert 0.025 ** (1 / 50) - 0.01 < estimate.low < 0.05 ** (1 / 50)


def test_equal_figures_leave_some_width() -> None:
    estimate = mean_interval([0.5] * 50)
    assert 0.47 < estimate.low < 0.49
    assert 0.51 < estimate.high < 0.53


def test_many_images_approach_the_normal_interval() -> None:
    values = np.random.default_rng(0).beta(2, 3, 20_000)
    assert ours(values) == pytest.approx(student(values), abs=2e-5)


def test_is_the_score_interval_at_the_effective_number_of_images() -> None:
    values = np.random.default_rng(1).beta(4, 1, 30)
    mean, between = values.mean(), 30 * values.var(ddof=1)
    n = 30 * (30 * mean * (1 - mean) + 0.1) / (between + 0.1)
    z2 = stats.norm.ppf(0.975) ** 2

    def excess(p: float) -> float:
        return float((mean - p) ** 2 - z2 * p * (1 - p) / n)

    roots = optimize.brentq(excess, 1e-9, mean), optimize.brentq(excess, mean, 1 - 1e-9)
    assert ours(values) == pytest.approx(roots)


@given(SHARES)
def test_bounds_are_ordered_and_within_0_and_1(values: list[float]) -> None:
    estimate = mean_interval(values)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(st.lists(st.integers(0, 64).map(lambda k: k / 64), min_size=1, max_size=40))
def test_mirrored_figures_mirror_the_interval(values: list[float]) -> None:
    low, high = ours(np.array(values))
    mirrored = ours(1 - np.array(values))
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-7)


@given(SHARES, st.floats(0.5, 0.9), st.floats(0.91, 0.999))
def test_more_confidence_is_wider(values: list[float], less: float, more: float) -> None:
    narrow = mean_interval(values, confidence=less)
    wide = mean_interval(values, confidence=more)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high
    assert wide.confidence == more


@given(SHARES, st.integers(2, 5))
def test_the_same_figures_from_more_images_are_narrower(values: list[float], times: int) -> None:
    few, many = ours(np.array(values)), ours(np.array(values * times))
    assert many[1] - many[0] < few[1] - few[0]


@given(st.integers(0, 60), st.integers(0, 60))
def test_more_stable_images_raise_both_bounds(stable: int, unstable: int) -> None:
    values = [1.0] * stable + [0.0] * unstable
    low, high = ours(np.array([*values, 0.0]))
    better_low, better_high = ours(np.array([*values, 1.0]))
    assert low <= better_low
    assert high <= better_high


def test_order_of_images_does_not_matter() -> None:
    values = np.random.default_rng(2).random(101)
    assert ours(values) == pytest.approx(ours(values[::-1]), abs=1e-14)


@pytest.mark.parametrize("interval", [mean_interval, bca_interval])
def test_nothing_to_average(interval: Callable[..., Estimate]) -> None:
    estimate = interval([])
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (None, None, None, 0)


@pytest.mark.parametrize("values", [[1.2], [-0.1], [math.nan], [[0.5]], 0.5])
def test_refuses_what_is_not_a_share_per_image(values: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        mean_interval(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_refuses_a_confidence_that_is_none(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([0.5], confidence=confidence)


# ratio_interval -------------------------------------------------------------------------------


def test_equal_trials_are_the_mean_of_shares() -> None:
    hits = np.random.default_rng(3).integers(0, 9, 40)
    ratio, mean = ratio_interval(hits, np.full(40, 8)), mean_interval(hits / 8)
    assert ratio.value == pytest.approx(mean.value)
    assert (ratio.low, ratio.high) == pytest.approx((mean.low, mean.high))


def test_images_without_trials_do_not_count() -> None:
    estimate = ratio_interval([3, 0, 2, 0], [4, 0, 2, 0])
    assert estimate == ratio_interval([3, 2], [4, 2])
    assert (estimate.value, estimate.n) == (pytest.approx(5 / 6), 2)


def test_no_trials_at_all_have_no_value() -> None:
    assert ratio_interval([0, 0], [0, 0]).value is None


def test_one_image_with_many_trials_is_still_one_image() -> None:
    estimate = ratio_interval([900], [1000])
    assert estimate.n == 1
    assert estimate.high - estimate.low > 0.7


def test_unequal_trials_agree_with_the_delete_one_jackknife() -> None:
    rng = np.random.default_rng(4)
    trials = rng.integers(1, 30, 3000)
    hits = rng.binomial(trials, rng.beta(3, 1, 3000))
    without = (hits.sum() - hits) / (trials.sum() - trials)
    error = math.sqrt(2999 / 3000 * ((without - without.mean()) ** 2).sum())
    estimate = ratio_interval(hits, trials)
    assert (estimate.high - estimate.low) / (2 * 1.959964) == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize(
    ("hits", "trials"), [([1], [1, 2]), ([3], [2]), ([-1], [2]), ([0], [-1]), ([1], [0])]
)
def test_refuses_hits_that_trials_cannot_hold(hits: list[float], trials: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ratio_interval(hits, trials)


# proportion_interval --------------------------------------------------------------------------


def test_93_of_100_can_neither_pass_nor_fail_a_gate_at_95_percent() -> None:
    estimate = proportion_interval(93, 100)
    assert (round(estimate.low, 2), round(estimate.high, 2)) == (0.86, 0.97)
    assert (estimate.value, estimate.n, estimate.method) == (0.93, 100, "wilson")


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (49, 50), (317, 1000)])
def test_proportion_equals_scipy(k: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    estimate = proportion_interval(k, n, confidence=confidence)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_proportion_of_no_images_has_no_value() -> None:
    assert proportion_interval(0, 0).value is None


@pytest.mark.parametrize(("k", "n"), [(2, 1), (-1, 3), (0, -1)])
def test_refuses_more_hits_than_images(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= k <= n"):
        proportion_interval(k, n)


# bca_interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 40, 300])
def test_bca_equals_scipy_up_to_resampling_noise(n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(1)
    ).confidence_interval
    estimate = bca_interval(values)
    tolerance = 0.2 * values.std() / math.sqrt(n)
    assert (estimate.low, estimate.high) == pytest.approx(
        (expected.low, expected.high), abs=tolerance
    )


def test_bca_leans_to_the_side_of_the_tail() -> None:
    estimate = bca_interval(np.random.default_rng(0).exponential(size=60))
    assert estimate.high - estimate.value > 1.1 * (estimate.value - estimate.low)


def test_bca_depends_on_values_and_seed_alone() -> None:
    values = np.random.default_rng(0).normal(size=200)
    assert bca_interval(values, seed=7) == bca_interval(values[::-1], seed=7)
    assert bca_interval(values, seed=7) != bca_interval(values, seed=8)


@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0], [0.1] * 7])
def test_bca_claims_nothing_without_spread(values: list[float]) -> None:
    estimate = bca_interval(values)
    assert (estimate.low, estimate.high, estimate.method) == (None, None, "none")
    assert (estimate.value, estimate.n) == (values[0], len(values))


@pytest.mark.parametrize("values", [[0.0, 1e-300], [1e200, 3e200, 9e200], [0.0] * 30 + [1.0]])
def test_bca_survives_extremes(values: list[float]) -> None:
    estimate = bca_interval(values, confidence=0.9999)
    assert min(values) <= estimate.low <= estimate.value <= estimate.high <= max(values)


@pytest.mark.parametrize("values", [[1.0, math.inf], [math.nan, 1.0], [[1.0]]])
def test_bca_refuses_what_cannot_be_averaged(values: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        bca_interval(values)  # type: ignore[arg-type]


@settings(max_examples=25)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_bca_follows_a_change_of_units(values: list[float]) -> None:
    estimate, doubled = bca_interval(values), bca_interval([2 * v for v in values])
    if estimate.low is not None:
        assert (doubled.low, doubled.high) == pytest.approx((2 * estimate.low, 2 * estimate.high))
