import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiaudit.errors import InputError
from equiaudit.kinds import KINDS
from equiaudit.shifts import make_plan

WINDOW = (32, 32)


def draws(plan, images):
    return np.stack([plan.offsets(plan.series[0], i) for i in range(images)])


@settings(max_examples=30, deadline=None)
@given(
    reach=st.integers(1, 20),
    count=st.integers(2, 40),
    stride=st.none() | st.tuples(st.integers(1, 8), st.integers(1, 8)),
    index=st.integers(0, 10**6),
)
def test_offsets_are_distinct_in_range_and_never_zero(reach, count, stride, index):
    plan = make_plan(("circular",), window=WINDOW, max_shift=reach, offsets=count, stride=stride)
    offsets = plan.offsets(plan.series[0], index)
    assert len(offsets) == min(count, (2 * reach + 1) ** 2 - 1)
    assert len(np.unique(offsets, axis=0)) == len(offsets)
    assert np.abs(offsets).max() <= reach
    assert np.any(offsets != 0, axis=1).all()


def test_full_is_every_offset():
    plan = make_plan(("crop",), window=WINDOW, max_shift=3, offsets="full")
    found = {tuple(o) for o in plan.offsets(plan.series[0], 5).tolist()}
    square = {(a, b) for a in range(-3, 4) for b in range(-3, 4)}
    assert found == square - {(0, 0)}


def test_no_offset_comes_twice_before_all_have_been_dealt():
    plan = make_plan(("circular",), window=WINDOW, max_shift=2, offsets=5, stride=(2, 2))
    for deal in range(3):
        hands = np.concatenate([plan.offsets(plan.series[0], 4 * deal + i) for i in range(4)])
        assert len(np.unique(hands, axis=0)) == 20
    late = make_plan(("circular",), window=WINDOW, max_shift=2, offsets=24)
    assert len(np.unique(late.offsets(late.series[0], 7), axis=0)) == 24


def test_every_pair_of_offsets_is_equally_likely():
    plan = make_plan(("circular",), window=WINDOW, max_shift=1, offsets=3, stride=(2, 2))
    place = np.array([[0, 1, 2], [3, -1, 4], [5, 6, 7]])
    met = np.zeros((8, 8))
    for hand in draws(plan, 20000):
        own = place[tuple(hand.T + 1)]
        met[np.ix_(own, own)] += 1
    counts = met[np.triu_indices(8, 1)]
    expected = 20000 * 3 / 28
    # Binomial spread is 44; five of it.
    assert np.abs(counts - expected).max() < 220


def test_every_offset_is_equally_likely():
    plan = make_plan(("circular",), window=WINDOW, max_shift=2, offsets=5, stride=(2, 2))
    flat = draws(plan, 6000).reshape(-1, 2)
    counts = np.unique(flat, axis=0, return_counts=True)[1]
    expected = 6000 * 5 / 24
    # Binomial spread is 31; five of it.
    assert np.abs(counts - expected).max() < 160


def test_offsets_depend_on_seed_and_index_alone():
    plan = make_plan(tuple(KINDS), window=WINDOW)
    again = make_plan(tuple(KINDS), window=WINDOW)
    other = make_plan(tuple(KINDS), window=WINDOW, seed=1)
    for index in (7, 3, 7):
        first = plan.offsets(plan.series[0], index)
        assert np.array_equal(first, again.offsets(again.series[2], index))
        assert not np.array_equal(first, other.offsets(other.series[0], index))
    a, b = draws(plan, 2)
    assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("zhang2019", -15, 16), ("mass", 0, 31), ("aps", -32, 31)]
)
def test_protocols_draw_pairs_over_their_whole_range(name, low, high):
    plan = make_plan(tuple(KINDS), window=WINDOW, protocol=name)
    flat = draws(plan, 4000)
    assert flat.shape == (4000, 2, 2)
    assert flat.min() == low
    assert flat.max() == high
    assert plan.margin == (16 if name == "zhang2019" else 0)


def test_the_hash_tells_plans_apart():
    plans = [
        make_plan(tuple(KINDS), window=WINDOW),
        make_plan(tuple(KINDS), window=WINDOW, seed=1),
        make_plan(tuple(KINDS), window=WINDOW, max_shift=8),
        make_plan(tuple(KINDS), window=WINDOW, offsets=8),
        make_plan(tuple(KINDS), window=WINDOW, stride=(4, 4)),
        make_plan(("circular",), window=WINDOW),
        make_plan(tuple(KINDS), window=WINDOW, protocol="mass"),
    ]
    assert len({plan.hash for plan in plans}) == len(plans)
    assert plans[0].hash == make_plan(tuple(KINDS), window=WINDOW).hash


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"kinds": ("circle",)}, "circle"),
        ({"kinds": ()}, "empty"),
        ({"kinds": ("crop", "crop")}, "repeat"),
        ({"max_shift": 0}, "max-shift"),
        ({"offsets": 1}, "offsets"),
        ({"offsets": "some"}, "offsets"),
        ({"protocol": "zhang"}, "zhang"),
    ],
)
def test_wrong_settings_are_named(settings, word):
    kinds = settings.pop("kinds", tuple(KINDS))
    with pytest.raises(InputError, match=word):
        make_plan(kinds, window=WINDOW, **settings)
