from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from equiaudit.metrics.paired import McNemar, labels_correct, mcnemar_exact, paired_difference

Floats = NDArray[np.float64]

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)
REPLICATIONS = 800


def before_and_after(rng: np.random.Generator, n: int, k: int) -> tuple[Floats, Floats]:
    """The agreement of n images under two models; the second calms some and breaks a few."""
    flip = np.where(rng.random(n) < 0.3, rng.random(n), 0.0)
    calmed = np.where(rng.random(n) < 0.5, 0.2 * flip, flip)
    broken = np.where(rng.random(n) < 0.02, 0.5, calmed)
    return 1 - rng.binomial(k, flip) / k, 1 - rng.binomial(k, broken) / k


TRUE_DIFFERENCE = 0.15 - (0.02 * 0.5 + 0.98 * 0.15 * 0.6)


def student(a: Floats, b: Floats) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(a) - 1) * (b - a).std(ddof=1) / math.sqrt(len(a))
    return (b - a).mean() - half, (b - a).mean() + half


def ours(a: Floats, b: Floats) -> tuple[float, float]:
    estimate = paired_difference(a, b)
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


@pytest.mark.parametrize("k", [2, 16])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_covers_the_true_difference(n: int, k: int) -> None:
    rng = np.random.default_rng([n, k])
    bounds = np.array([ours(*before_and_after(rng, n, k)) for _ in range(REPLICATIONS)])
    covered = ((bounds[:, 0] <= TRUE_DIFFERENCE) & (bounds[:, 1] >= TRUE_DIFFERENCE)).mean()
    error = 3 * math.sqrt(0.95 * 0.05 / REPLICATIONS)
    assert 0.93 - error <= covered <= (0.99 if n == 50 else 0.97) + error


def test_covers_a_rare_change_where_student_does_not() -> None:
    rng = np.random.default_rng(0)
    audits = [(np.ones(50), 1.0 - (rng.random(50) < 0.01)) for _ in range(400)]
    ours_covers = np.mean([low <= -0.01 <= high for low, high in (ours(*x) for x in audits)])
    control = np.mean([low <= -0.01 <= high for low, high in (student(*x) for x in audits)])
    assert ours_covers > 0.95
    assert control < 0.5


def test_no_change_among_50_images_is_no_proof_of_none() -> None:
    estimate = paired_difference(np.ones(50), np.ones(50))
    assert estimate.value == 0
    # A change in either direction of 1 - 0.025^(1/50) = 7% of the images may go unseen.
    assert estimate.high == pytest.approx(1 - 0.025 ** (1 / 50), abs=0.01)
    assert estimate.low == -estimate.high
    assert (estimate.n, estimate.method) == (50, "paired-wilson")


def test_many_images_approach_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.beta(5, 2, 20_000), rng.beta(4, 2, 20_000)
    assert ours(a, b) == pytest.approx(student(a, b), abs=5e-5)


def test_pairing_removes_the_spread_between_images() -> None:
    rng = np.random.default_rng(2)
    a = rng.random(500)
    b = np.clip(a + 0.01 * rng.normal(size=500), 0, 1)
    low, high = ours(a, b)
    unpaired = stats.ttest_ind(b, a).confidence_interval()
    assert high - low < 0.1 * (unpaired.high - unpaired.low)


@given(PAIRS)
def test_bounds_hold_the_difference_and_are_never_empty(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    low, high = ours(a, b)
    assert -1 <= low <= b.mean() - a.mean() + 1e-12
    assert b.mean() - a.mean() - 1e-12 <= high <= 1
    assert low < high


@given(PAIRS)
def test_swapping_the_models_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    low, high = ours(a, b)
    assert ours(b, a) == pytest.approx((-high, -low), abs=1e-12)


@given(PAIRS, st.floats(0.5, 0.9), st.floats(0.91, 0.999))
def test_more_confidence_is_wider(
    pairs: list[tuple[float, float]], less: float, more: float
) -> None:
    a, b = np.array(pairs).T
    narrow = paired_difference(a, b, confidence=less)
    wide = paired_difference(a, b, confidence=more)
    assert wide.low <= narrow.low + 1e-12
    assert narrow.high <= wide.high + 1e-12


def test_no_images_have_no_difference() -> None:
    assert paired_difference([], []).value is None


@pytest.mark.parametrize(
    ("a", "b"), [([0.5], [0.5, 0.6]), ([1.5], [0.5]), ([math.nan], [0.5]), ([[0.5]], [[0.5]])]
)
def test_refuses_figures_that_do_not_pair(a: object, b: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        paired_difference(a, b)  # type: ignore[arg-type]


# McNemar --------------------------------------------------------------------------------------


def correct(a_only: int, b_only: int, both: int = 3) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a = [True] * a_only + [False] * b_only + [True] * both
    b = [False] * a_only + [True] * b_only + [True] * both
    return np.array(a, dtype=bool), np.array(b, dtype=bool)


@pytest.mark.parametrize(("a_only", "b_only"), [(0, 1), (1, 8), (8, 1), (5, 5), (30, 61), (400, 0)])
def test_mcnemar_equals_scipy(a_only: int, b_only: int) -> None:
    found = mcnemar_exact(*correct(a_only, b_only))
    expected = stats.binomtest(b_only, a_only + b_only).pvalue
    assert (found.a_only, found.b_only) == (a_only, b_only)
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_equals_counting_every_coin() -> None:
    a_only, b_only = 2, 7
    tosses = [abs(2 * sum(coins) - 9) for coins in itertools.product([0, 1], repeat=9)]
    expected = np.mean([toss >= abs(b_only - a_only) for toss in tosses])
    assert mcnemar_exact(*correct(a_only, b_only)).p_value == pytest.approx(expected)


def test_images_both_get_right_say_nothing() -> None:
    assert mcnemar_exact(*correct(2, 9, both=0)) == mcnemar_exact(*correct(2, 9, both=500))


@pytest.mark.parametrize("both", [0, 4])
def test_equal_models_do_not_differ(both: int) -> None:
    assert mcnemar_exact(*correct(0, 0, both)) == McNemar(b_only=0, a_only=0, p_value=1.0)


def test_refuses_labels_where_booleans_are_due() -> None:
    with pytest.raises(ValueError, match="booleans"):
        mcnemar_exact([1, 0], [0, 1])
    with pytest.raises(ValueError, match="one shape"):
        mcnemar_exact([True], [True, False])


def test_a_label_is_right_when_it_is_the_one() -> None:
    assert labels_correct([3, 1, 2], [3, 2, 2]).tolist() == [True, False, True]


def test_a_label_is_right_when_it_is_one_of_several() -> None:
    table = np.array([[True, True, False], [False, False, True], [False, False, False]])
    assert labels_correct([1, 0, 2], table).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [([1], [1, 2]), ([[1]], [1]), ([5], [[True]]), ([-1], [[True]]), ([0], [[1]])],
)
def test_refuses_labels_that_have_no_truth(predicted: object, truth: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        labels_correct(predicted, truth)  # type: ignore[arg-type]
