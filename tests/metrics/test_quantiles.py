"""Quantiles of pooled figures, and their bootstrap, against a loop over resamples."""

import numpy as np
import pytest

from equiaudit.metrics import quantiles
from equiaudit.metrics.quantiles import pooled_quantiles


@pytest.mark.parametrize(("images", "count"), [(2, 2), (5, 40), (30, 700)])
def test_intervals_are_those_of_a_loop_over_resamples(images, count, monkeypatch):
    monkeypatch.setattr(quantiles, "_RESAMPLES", 300)
    monkeypatch.setattr(quantiles, "_CHUNK", 7 * images)
    rng = np.random.default_rng(count)
    own = rng.integers(images, size=count - images).tolist() + list(range(images))
    each = [rng.normal(size=own.count(i)).round(1) for i in range(images)]
    levels = (0.5, 0.95)
    drawn, found = np.random.default_rng([3, images]), []
    for _ in range(300):
        pooled = np.sort(np.concatenate([each[i] for i in drawn.integers(images, size=images)]))
        found.append([pooled[int(np.ceil(level * len(pooled))) - 1] for level in levels])
    ends = np.quantile(found, [0.025, 0.975], axis=0).T
    for estimate, (low, high) in zip(pooled_quantiles(each, levels, seed=3), ends, strict=True):
        assert estimate.low == min(low, estimate.value)
        assert estimate.high == max(high, estimate.value)


def test_images_without_figures_are_drawn_too():
    """Draws of such alone have no figure: the smallest stands for it."""
    one = pooled_quantiles([np.zeros(0)] * 3 + [np.array([1.0, 2.0]), np.array([5.0])], [0.5])[0]
    assert (one.value, one.n) == (2.0, 2)
    assert one.low == 1.0
