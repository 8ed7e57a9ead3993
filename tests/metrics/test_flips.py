import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from equiaudit.metrics.dense import iou_estimates, mean_iou
from equiaudit.metrics.flips import flip_difference, flip_interval, flip_ratio, kept_of


def test_the_interval_of_small_flip_rates_is_small_and_of_none_is_not_empty():
    rng = np.random.default_rng(0)
    small = flip_interval(rng.beta(1, 1000, 60))
    assert small.low < small.value < small.high < 0.01
    none = flip_interval(np.zeros(60))
    assert (none.value, none.low) == (0, 0)
    assert 0 < none.high < 0.01
    large = flip_interval(np.full(60, 0.5))
    assert large.method == "cluster-wilson"
    kept = kept_of(small)
    assert (kept.value, kept.low, kept.high) == (1 - small.value, 1 - small.high, 1 - small.low)


def test_ratios_weigh_images_by_their_pixels():
    found = flip_ratio([1, 30, 0], [100, 1000, 0])
    assert found.value == pytest.approx(31 / 1100)
    assert found.n == 2
    assert flip_ratio([0], [0]).value is None
    even = flip_ratio([2, 4], [100, 100])
    assert even.low == pytest.approx(flip_interval([0.02, 0.04]).low)


def test_differences_are_paired():
    rng = np.random.default_rng(1)
    before = rng.beta(1, 300, 80)
    found = flip_difference(before, before + 0.01)
    assert found.value == pytest.approx(0.01)
    assert found.low > 0
    assert abs(flip_difference(before, before).high) < 0.01


def test_coverage_of_the_interval_is_near_what_it_states():
    rng = np.random.default_rng(2)
    found = [flip_interval(rng.beta(1, 30, 50)) for _ in range(400)]
    covered = np.mean([e.low <= 1 / 31 <= e.high for e in found])
    assert 0.91 <= covered <= 0.99


def counts(labels, masks, classes):
    rows = []
    for c in range(classes):
        seen = masks >= 0
        rows.append(
            [
                ((labels == c) & (masks == c)).sum(),
                ((masks == c) & seen).sum(),
                ((labels == c) & seen).sum(),
            ]
        )
    return np.array(rows, np.float64)


def test_pooled_iou_is_that_of_torchmetrics_and_absent_classes_do_not_count():
    rng = np.random.default_rng(3)
    labels, masks = rng.integers(0, 4, (6, 20, 20)), rng.integers(-1, 4, (6, 20, 20))
    table = np.stack([counts(a, b, 5) for a, b in zip(labels, masks, strict=True)])
    mean, each = iou_estimates(table)
    metric = MulticlassJaccardIndex(4, ignore_index=-1, average="none")
    expected = metric(torch.from_numpy(labels), torch.from_numpy(masks)).numpy()
    assert [e.value for e in each[:4]] == pytest.approx(expected.tolist(), abs=1e-6)
    assert each[4].value is None
    assert mean.value == pytest.approx(expected.mean(), abs=1e-6)
    assert mean.low < mean.value < mean.high
    assert np.isnan(mean_iou(np.zeros((5, 3))))


def test_the_interval_of_iou_covers():
    rng = np.random.default_rng(4)

    def sample(n):
        right = rng.integers(0, 50, (n, 2, 1))
        return np.concatenate([right, right + 20, right + 10], axis=2).astype(float)

    truth = float(mean_iou(sample(200_000).sum(axis=0)))
    found = [iou_estimates(sample(40), seed=i)[0] for i in range(120)]
    assert 0.88 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.99


def test_one_image_or_equal_images_have_no_interval_of_iou():
    one = np.array([[[5.0, 8, 9]]])
    assert iou_estimates(one)[0].low is None
    assert iou_estimates(np.repeat(one, 4, axis=0))[0].method == "none"
