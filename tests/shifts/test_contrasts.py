"""Views a whole number of strides apart, and views as far apart that are not."""

import numpy as np
import pytest

from equiaudit.shifts import make_plan
from equiaudit.shifts.contrasts import contrast_for


def views(plan, kind, images=400):
    return np.stack([plan.contrast_offsets(i)[f"{kind}:views"] for i in range(images)])


def plan_of(stride, reach=16, **settings):
    kinds = ("circular", "crop", "zero-pad")
    return make_plan(kinds, window=(64, 64), max_shift=reach, stride=stride, **settings)


@pytest.mark.parametrize(
    ("stride", "reach"), [((4, 4), 3), ((4, 8), 16), ((16, 16), 16), ((2, 4), 4)]
)
def test_pairs_differ_by_whole_strides_or_by_phases(stride, reach):
    plan = plan_of(stride, reach, paired=True)
    a, b, c, d = views(plan, "crop").transpose(1, 0, 2)
    assert max(np.abs(each).max() for each in (a, b, c, d)) <= reach
    for one, other in ((a, b), (c, d)):
        assert not ((other - one) % stride).any()
        assert ((other - one) != 0).all(), "along both axes"
    for one, other in ((a, d), (b, c)):
        assert ((other - one) % stride).any(axis=1).all()
    assert np.array_equal((d - a) + (b - c), 2 * (b - a)), "as far apart in the mean"
    for axis in (0, 1):
        assert set(((c - a) % stride)[:, axis].tolist()) == set(range(stride[axis]))


def test_views_around_whole_strides_from_the_unshifted_one():
    plan = plan_of((4, 4), 16)
    for index in range(50):
        own = plan.contrast_offsets(index)
        (whole,), (more, less) = own["crop:whole"], own["crop:between"]
        assert not (whole % 4).any()
        assert (whole != 0).all()
        assert np.array_equal(more + less, 2 * whole)
        assert ((more % 4).any(), (less % 4).any()) == (True, True)
        assert np.abs([whole, more, less]).max() <= 16


def test_a_stride_without_room_is_halved_for_crops_and_rolls_reach_further():
    plan = plan_of((32, 32), 16, paired=True)
    found = {contrast.kind: contrast for contrast in plan.contrasts}
    assert found["crop"].step == (16, 16)
    assert found["circular"].step == (32, 32)
    assert plan.reach == 24
    assert plan.margin == 16
    assert np.abs(views(plan, "circular")).max() == 24
    assert contrast_for("crop", (5, 5), 3, 3, paired=True) is None
    assert not plan_of(None).contrasts
    assert not plan_of((4, 4), aligned=False).contrasts
    assert not plan_of((4, 4), protocol="mass").contrasts
