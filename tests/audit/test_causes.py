"""Causes against nets whose causes are known, and simulated audits whose truth is."""

import numpy as np
import pytest
import torch
from cause_worlds import WORLDS, coverage
from PIL import Image
from small import MEAN, STD, small_net, write_images
from torch import nn

import equiaudit

BORDER, SAMPLING = "crop: border", "crop: sampling"
SEAM, ROLLED = "circular: seam and padding", "circular: sampling"
BLACK = "zero-pad: black"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("causes"), 30, size=(32, 32))


def causes(net, data, stride, size=16, reach=8):
    result = equiaudit.scan(
        net,
        data,
        size=(size, size),
        mean=MEAN,
        std=STD,
        max_shift=reach,
        offsets=4,
        stride=stride,
        accuracy_check=False,
        images=False,
    )
    return {part.name: part for part in result.boundary}


def holds(part, truth):
    return part.estimate.low <= truth <= part.estimate.high


def circular(net):
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    return net


def test_with_circular_padding_a_rolled_image_is_changed_by_sampling_alone(images):
    found = causes(circular(small_net()), images, 4)
    assert found[SEAM].estimate.value == 0
    assert found[ROLLED].estimate.low > 0
    assert holds(found[BORDER], found[BORDER].estimate.value)
    assert found[BLACK].estimate.low > 0


def test_without_strides_all_is_border(images):
    net = small_net()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    found = causes(net, images, 1)
    assert "nothing is sampled" in found[SAMPLING].reason
    assert "nothing is sampled" in found[ROLLED].reason
    assert found[BORDER].estimate.low > 0


def test_a_repaired_net_does_not_sample(images, tmp_path):
    fixed = tmp_path / "fixed.pt"
    given = {"size": (16, 16), "mean": MEAN, "std": STD}
    equiaudit.fix(small_net(), fixed, method="mass", **given)
    found = causes(str(fixed), images, 4)
    assert found[SEAM].estimate.value == found[ROLLED].estimate.value == 0
    assert holds(found[SAMPLING], 0)
    assert found[BORDER].estimate.low > 0


class Centre(nn.Module):
    """Sees every other pixel of the middle of its window, and is told nothing of the rest."""

    def forward(self, x):
        lit = (x[:, 0, 8:-8:2, 8:-8:2] > 0).flatten(1).sum(1, keepdim=True)
        return torch.cat([0.5 - lit, lit - 0.5], 1)


def test_a_net_that_reads_its_centre_has_no_border(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(30):
        pixels = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        pixels[8:40, 8:40] = 0
        pixels[23:25, 23 : 24 + i % 2] = 255
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    found = causes(Centre(), tmp_path, 2, size=40, reach=3)
    assert found[BORDER].estimate.value == 0
    assert found[SEAM].estimate.value == 0
    assert found[BLACK].estimate.value == 0
    assert found[SAMPLING].estimate.value == found[ROLLED].estimate.value > 0


class Constant(nn.Module):
    def forward(self, x):
        return torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)


def test_a_constant_has_no_causes(images):
    found = causes(Constant(), images, 4)
    assert [part.estimate.value for part in found.values()] == [0] * 5
    assert all(holds(part, 0) for part in found.values())


@pytest.mark.parametrize("name", WORLDS)
def test_the_intervals_hold_the_truth(name):
    found = coverage(name, audits=200, images=60)
    known = WORLDS[name]
    for cause, exact in (("border", known.border), ("sampling", known.sampling)):
        if exact is not None:
            assert found.measured[cause] == pytest.approx(exact, abs=0.01)
        assert found.held[cause] >= 0.93
