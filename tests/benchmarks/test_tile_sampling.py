"""The U-Net of the magnetic-tile benchmark under each method."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equiaudit.sampling import Choice, PolyphaseUp, circular_pad, roll_by

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from tile_sampling import METHODS, SampledUNet, raised

EXACT = ("aps", "lps", "mass", "caps")


@pytest.mark.parametrize("weights", [None, torch.tensor([[0.1, 0.2, 0.3, 0.4]]).repeat(3, 1)])
def test_the_way_up_is_zeros_and_then_the_convolution(weights):
    torch.manual_seed(0)
    up, z = nn.ConvTranspose2d(4, 2, 2, 2), torch.randn(3, 4, 5, 6)
    choice = Choice(torch.tensor([[0, 1], [1, 0], [1, 1]]), weights)
    spread = PolyphaseUp(2, soft=True)(z, choice)
    kernel = up.weight.transpose(0, 1).flip(2, 3)
    expected = F.conv2d(circular_pad(spread, (1, 0, 1, 0), (10, 12)), kernel)
    found = raised(up(z) - up.bias[:, None, None], choice)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_polyphase_nets_are_exact_and_the_others_are_not(method):
    torch.manual_seed(0)
    net = SampledUNet(method, width=4).eval()
    x, moves = torch.randn(3, 1, 64, 64), torch.tensor([[1, 0], [5, 11], [30, 17]])
    with torch.inference_mode():
        same = torch.equal(net(roll_by(x, moves)), roll_by(net(x), moves))
    assert same == (method in EXACT)


def test_all_methods_start_from_the_same_shared_weights_and_train_all_they_have():
    torch.manual_seed(0)
    base = dict(SampledUNet("base", width=4).named_parameters())
    for method in METHODS:
        torch.manual_seed(0)
        net = SampledUNet(method, width=4)
        own = dict(net.named_parameters())
        assert all(torch.equal(own[name], value) for name, value in base.items())
        net(torch.randn(2, 1, 32, 32)).square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in own.values())
