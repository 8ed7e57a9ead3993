"""The betting bounds: valid at all times at once, where fixed-size intervals are not."""

import numpy as np
import pytest

from equiaudit.metrics.anytime import betting_bounds, betting_interval, log_capital
from equiaudit.metrics.intervals import wilson_bounds

RNG_SEED = 5
GOAL = np.log(2 / 0.05)


def streams(mean, count=2000, images=400, seed=RNG_SEED):
    """Three kinds of images: all right, half right, all wrong; (count, images)."""
    rng = np.random.default_rng(seed)
    half = 0.3 * (1 - mean)
    odds = [mean - half / 2, half, 1 - mean - half / 2]
    return rng.choice([1.0, 0.5, 0.0], p=odds, size=(count, images))


def capital_by_definition(values, mean):
    """Stake by stake, image by image, in plain Python."""
    stakes = [1, 0.75] + [2.0**-j for j in range(1, 11)]
    purses = [1 / 12] * 12
    for x in values:
        purses = [p * (1 - c + c * x / mean) for p, c in zip(purses, stakes, strict=True)]
    return sum(purses)


def ever_excluded(values, mean):
    """Per stream, whether the bounds left out `mean` at any time."""
    above = log_capital(values, mean) >= GOAL
    below = log_capital(1 - values, 1 - mean) >= GOAL
    return (above | below).any(axis=-1)


@pytest.mark.parametrize("mean", [0.5, 0.923, 0.99])
def test_the_bounds_are_wrong_at_any_time_no_more_often_than_they_say(mean):
    assert ever_excluded(streams(mean), mean).mean() <= 0.05


def test_a_fixed_size_interval_looked_at_after_every_image_is_wrong_more_often():
    hits = np.cumsum(streams(0.5) > 0.6, axis=1)
    truth = (streams(0.5) > 0.6).mean()
    wrong = 0
    for row in hits[:300]:
        bounds = (wilson_bounds(k / n, n, 0.95) for n, k in enumerate(row.tolist(), 1))
        wrong += any(not low <= truth <= high for low, high in bounds)
    assert wrong / 300 > 0.15


def test_the_capital_follows_its_definition():
    values = streams(0.8, 1, 60)[0]
    for mean in (0.3, 0.75, 1.0):
        path = log_capital(values, mean)
        assert path.shape == values.shape
        assert path[0] == pytest.approx(np.log(capital_by_definition(values[:1], mean)))
        assert path[-1] == pytest.approx(np.log(capital_by_definition(values, mean)))


def test_the_bounds_are_where_the_capital_reaches_its_goal():
    values = streams(0.9, 1, 150)[0]
    low, high = betting_bounds(values)
    assert log_capital(values, low)[-1] == pytest.approx(GOAL, abs=1e-6)
    assert log_capital(1 - values, 1 - high)[-1] == pytest.approx(GOAL, abs=1e-6)
    assert log_capital(values, low)[-1] >= GOAL
    assert 0 < low < values.mean() < high < 1


def test_order_does_not_count_and_the_complement_mirrors():
    values = streams(0.9, 1, 150)[0]
    low, high = betting_bounds(values)
    assert betting_bounds(np.sort(values)) == (low, high)
    mirrored = betting_bounds(1 - values)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_more_images_narrow_the_bounds_and_more_confidence_widens_them():
    values = streams(0.9, 1, 4000)[0]
    widths = [np.diff(betting_bounds(values[:n]))[0] for n in (50, 400, 4000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    assert np.diff(betting_bounds(values, confidence=0.99))[0] > widths[2]


def test_figures_that_are_all_alike():
    low, high = betting_bounds(np.ones(100))
    assert high == 1
    assert 0.9 < low < 0.95 < (1 / 40) ** (1 / 100)  # The last is what the whole stake gets.
    assert betting_bounds(np.zeros(100)) == pytest.approx((0, 1 - low))
    assert betting_bounds([]) == (0, 1)
    low, high = betting_bounds(np.full(2000, 0.5))
    assert 0.49 < low < 0.5 < high < 0.51


def test_an_estimate_says_how_it_was_made():
    estimate = betting_interval([1.0, 0.5, 1.0, 1.0])
    assert (estimate.value, estimate.n, estimate.method) == (0.875, 4, "betting-cs")
    assert estimate.low < 0.875 < estimate.high < 1
    nothing = betting_interval([])
    assert (nothing.value, nothing.low, nothing.n) == (None, None, 0)


@pytest.mark.parametrize("values", [[1.2], [-0.1], [float("nan")], [[0.5]]])
def test_what_is_no_share_is_refused(values):
    with pytest.raises(ValueError, match="expected values"):
        betting_bounds(values)


def test_levels_and_means_out_of_range_are_refused():
    with pytest.raises(ValueError, match="confidence"):
        betting_bounds([0.5], confidence=1.0)
    with pytest.raises(ValueError, match="mean"):
        log_capital([0.5], 0.0)
