"""Against loops that are written from the definitions."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiaudit.metrics import classification as c


def observations(n=40, k=6, classes=4, reach=3, seed=0, labels=True):
    rng = np.random.default_rng(seed)
    grid = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1) if a or b]
    offsets = np.array([rng.permutation(grid)[:k] for _ in range(n)])
    clean = rng.integers(classes, size=n)
    predicted = np.where(
        rng.random((n, k)) < 0.7, clean[:, None], rng.integers(classes, size=(n, k))
    )
    return c.Observations(
        offsets=offsets,
        predicted=predicted,
        clean=clean,
        wobble=rng.random(n),
        logit_error=rng.random(n) * 3,
        labels=rng.integers(classes, size=n) if labels else None,
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=8))
def test_consistency_is_the_share_of_agreeing_pairs(rows):
    predicted = np.array(rows)
    slow = [np.mean([a == b for a, b in combinations(row, 2)]) for row in rows]
    assert c.consistency(predicted) == pytest.approx(slow)


def test_summary_equals_loops():
    seen = observations()
    n, k = seen.predicted.shape
    pairs = []
    kept = right = worst = flipped = 0
    radii, once = [], []
    for i in range(n):
        counts = Counter(seen.predicted[i].tolist())
        pairs.append(sum(m * (m - 1) for m in counts.values()) / (k * (k - 1)))
        radius = []
        for j in range(k):
            kept += seen.predicted[i, j] == seen.clean[i]
            right += seen.predicted[i, j] == seen.labels[i]
            if seen.predicted[i, j] != seen.clean[i]:
                radius.append(max(abs(seen.offsets[i, j, 0]), abs(seen.offsets[i, j, 1])))
        worst += all(seen.predicted[i] == seen.labels[i])
        flipped += bool(radius)
        radii += [min(radius)] if radius else []
        once += [pairs[-1]] if any(seen.predicted[i] == seen.labels[i]) else []
    expected = {
        "consistency": np.mean(pairs),
        "agreement": kept / (n * k),
        "accuracy_clean": np.mean(seen.clean == seen.labels),
        "accuracy_shifted": right / (n * k),
        "accuracy_worst": worst / n,
        "consistency_correct": np.mean(once),
        "flipped": flipped / n,
        "flip_radius": np.mean(radii),
        "confidence_wobble": np.mean(seen.wobble),
        "logit_error": np.mean(seen.logit_error),
        "logit_error_max": max(seen.logit_error),
    }
    found = c.summarise(seen)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
        if found[name].low is not None:
            assert found[name].low <= value <= found[name].high, name
    assert found["consistency_correct"].n == len(once) < n


def test_without_labels_there_are_no_accuracies():
    names = c.summarise(observations(labels=False)).keys()
    assert not [name for name in names if "accuracy" in name or "correct" in name]


def test_maps_and_distances_equal_loops():
    seen = observations()
    stride = (2, 3)
    where, phase, distance = (Counter() for _ in range(3))
    where_kept, phase_kept, distance_kept = (Counter() for _ in range(3))
    for i, row in enumerate(seen.offsets.tolist()):
        for j, (dy, dx) in enumerate(row):
            keep = int(seen.predicted[i, j] == seen.clean[i])
            cell = (dy % stride[0], dx % stride[1])
            where[dy, dx] += 1
            where_kept[dy, dx] += keep
            phase[cell] += 1
            phase_kept[cell] += keep
            distance[max(abs(dy), abs(dx))] += 1
            distance_kept[max(abs(dy), abs(dx))] += keep
    for grid, total, agree in (
        (c.agreement_map(seen, -3, 3), where, where_kept),
        (c.phase_map(seen, stride), phase, phase_kept),
    ):
        for a, dy in enumerate(grid.rows):
            for b, dx in enumerate(grid.cols):
                assert grid.total[a][b] == total[dy, dx]
                assert grid.agree[a][b] == agree[dy, dx]
    points = {p.distance: p.agreement.value for p in c.by_distance(seen)}
    assert points == pytest.approx({d: distance_kept[d] / distance[d] for d in distance})


def test_a_model_that_never_flips():
    seen = observations()
    still = c.Observations(
        offsets=seen.offsets,
        predicted=np.repeat(seen.clean[:, None], 6, axis=1),
        clean=seen.clean,
        wobble=np.zeros(40),
        logit_error=np.zeros(40),
    )
    found = c.summarise(still)
    assert found["consistency"].value == found["agreement"].value == 1
    assert found["consistency"].low < 1
    assert found["flip_radius"].value is None
    assert found["flip_radius"].n == 0


def test_narrow_integers_and_pieces_count_the_same(monkeypatch):
    """A grid of 241 x 241 cells has more places than 16 bits count."""
    from dataclasses import replace

    wide = observations(n=37, reach=120)
    narrow = replace(
        wide, offsets=wide.offsets.astype(np.int16), predicted=wide.predicted.astype(np.int8)
    )
    whole = c.agreement_map(wide, -120, 120), c.phase_map(wide, (8, 8))
    assert sum(map(sum, whole[0].total)) == 37 * 6
    monkeypatch.setattr(c, "_PIECE", 10)
    assert (c.agreement_map(narrow, -120, 120), c.phase_map(narrow, (8, 8))) == whole
    assert c.summarise(narrow) == c.summarise(wide)
    assert c.by_distance(narrow) == c.by_distance(wide)
