"""The mean of a scan's figures is that of all offsets, whatever the net answers by."""

import numpy as np
import pytest

from equiaudit.metrics.classification import consistency
from equiaudit.shifts import make_plan

REACH, COUNT = 2, 4
IMAGES = 3000
AXIS = np.arange(-REACH, REACH + 1)
ROWS, COLS = np.meshgrid(AXIS, AXIS, indexing="ij")


def by_phase(rows, cols):
    return rows % 2 * 2 + cols % 2


def by_all_but_phase(rows, cols):
    return rows // 2 * 5 + cols // 2


def nets():
    yield "phase", by_phase(ROWS, COLS)
    yield "on the grid", by_phase(ROWS, COLS) == 0
    yield "all but phase", by_all_but_phase(ROWS, COLS)
    yield "row", ROWS
    yield "half plane", ROWS + COLS > 0
    rng = np.random.default_rng(0)
    for labels in (2, 5):
        yield f"{labels} at random", rng.integers(0, labels, ROWS.shape)
    yield "constant", np.zeros(ROWS.shape)


def labels_of(net, plan, images):
    offsets = np.stack([plan.offsets(plan.series[0], i) for i in range(images)]) + REACH
    return net[offsets[..., 0], offsets[..., 1]]


def plan_of(offsets, reach=REACH, seed=0):
    return make_plan(
        ("circular",), window=(8, 8), max_shift=reach, offsets=offsets, stride=(2, 2), seed=seed
    )


@pytest.mark.parametrize(("name", "net"), list(nets()))
def test_consistency_is_that_of_all_offsets_in_the_mean(name, net):
    truth = consistency(labels_of(net, plan_of("full"), 1))[0]
    found = consistency(labels_of(net, plan_of(COUNT), IMAGES))
    assert abs(found.mean() - truth) < 4 * found.std() / IMAGES**0.5 + 1e-12, name
    if name == "on the grid":
        # Offsets spread over the four phases read 0.445.
        assert truth == pytest.approx((8 * 7 + 16 * 15) / (24 * 23))


def test_the_scan_of_one_deal_has_the_agreement_of_all_offsets():
    """What all images answer alike has no noise left once every offset was dealt."""
    net = by_phase(ROWS, COLS) == 0
    truth = labels_of(net, plan_of("full"), 1).mean()
    hands = 24 // COUNT
    assert labels_of(net, plan_of(COUNT), 5 * hands).mean() == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("images", [20, 64])
def test_dealing_spreads_less_than_drawing_for_each_image(images):
    net = by_phase(ROWS, COLS) == 0
    means = [labels_of(net, plan_of(COUNT, seed=s), images).mean() for s in range(200)]
    alone = net.mean() * (1 - net.mean()) / (COUNT * images)
    assert np.var(means) < 0.5 * alone
