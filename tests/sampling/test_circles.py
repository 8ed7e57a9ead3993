"""Paddings, means and filters that would tell the border from the middle, inside the layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from equiaudit.sampling import (
    APSD,
    APSU,
    CAPSD,
    DDAC,
    LPSD,
    LPSU,
    MASS,
    BlurPool,
    MASSUp,
    OrderFreeMean,
    circular,
    circular_,
    roll_by,
)

SIZE = (8, 12)
SAYS = "ignore:.*makes the border.*:UserWarning"


def noise(count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, 4, *size, generator=torch.Generator().manual_seed(0))


def roll(x: Tensor, shift: tuple[int, int]) -> Tensor:
    return torch.roll(x, shift, (-2, -1))


def law_error(layer: MASS, x: Tensor) -> float:
    """Largest |y' - roll(y, (o + D - o') / s)| over all shifts by a small loop."""
    (sh, sw), worst = layer.select.stride, 0.0
    origin, y = layer.select(x), layer(x)
    for shift in [(a, b) for a in range(2 * sh) for b in range(2 * sw)]:
        moved = roll(x, shift)
        steps = (origin + torch.tensor(shift) - layer.select(moved)) // torch.tensor((sh, sw))
        worst = max(worst, (layer(moved) - roll_by(y, steps)).abs().max().item())
    return worst


OPS = {
    "conv": lambda: nn.Conv2d(4, 5, 3, 2, 1),
    "same, dilated": lambda: nn.Sequential(
        nn.Conv2d(4, 5, 3, padding="same", dilation=2), nn.MaxPool2d(2)
    ),
    "reflected": lambda: nn.Conv2d(4, 5, 3, 2, 1, padding_mode="reflect"),
    "max pool": lambda: nn.MaxPool2d(3, 2, 1),
    "mean pool": lambda: nn.AvgPool2d(3, 2, 1),
    "pad module": lambda: nn.Sequential(nn.ReflectionPad2d((0, 1, 0, 1)), nn.Conv2d(4, 5, 3, 2)),
    "blur": lambda: nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), BlurPool(3, 2)),
    "ddac": lambda: nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), DDAC(8, groups=2)),
}


@pytest.mark.filterwarnings(SAYS)
@pytest.mark.parametrize("name", OPS)
def test_a_padding_inside_mass_becomes_circular(name: str) -> None:
    x = noise()
    op = OPS[name]().eval()
    layer = MASS(op, 2).eval()
    with torch.no_grad():
        assert law_error(layer, x) <= 1e-6
        plain = MASS(nn.Identity(), 1).eval()
        plain.op, plain.select = op, layer.select  # the control: as it was given
        assert law_error(plain, x) > 1e-2
    assert {id(p) for p in layer.parameters()} == {id(p) for p in op.parameters()}


def test_it_says_what_it_made_circular_and_leaves_the_module_given_alone() -> None:
    op = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    before = copy.deepcopy(op)(noise())
    with pytest.warns(UserWarning, match=r"MASS makes the border of 0 \(Conv2d\), 2 \(MaxPool2d\)"):
        MASS(op, 2)
    assert torch.equal(op(noise()), before)


def test_an_operation_that_is_silent_about_its_border_gives_no_warning() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MASS(nn.Conv2d(4, 5, 3, 2), 2, padding=1)(noise())
        MASSUp(nn.Upsample(scale_factor=2))
        MASSUp(nn.ConvTranspose2d(4, 4, 2, 2))
        APSD(2, filter=BlurPool(3, 1, "circular"))


@pytest.mark.parametrize(("op", "stride"), [(nn.Conv2d(4, 5, 3, 2), 2), (nn.Conv2d(4, 5, 2, 2), 4)])
def test_a_size_that_is_not_that_of_the_stride_is_refused(op: nn.Module, stride: int) -> None:
    with pytest.raises(ValueError, match=r"8x12 at stride .* returns"):
        MASS(op, stride)(noise())


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (nn.AdaptiveAvgPool2d((2, 3)), "fixed cells"),
        (nn.ConvTranspose2d(4, 4, 2, 2), "MASSUp"),
        (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "align_corners"),
    ],
)
def test_what_has_no_circular_form_is_refused_by_name(op: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MASS(nn.Sequential(nn.Identity(), op), 2)


def test_an_adaptive_mean_becomes_order_free() -> None:
    mean, changed = circular(nn.AdaptiveAvgPool2d((1, 1)))
    assert isinstance(mean, OrderFreeMean)
    assert changed == ("AdaptiveAvgPool2d",)


UPS = {
    "overlapping": lambda: nn.ConvTranspose2d(4, 3, 4, 2, 1),
    "3 taps": lambda: nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1),
    "wide": lambda: nn.ConvTranspose2d(4, 3, 8, 4, 2),
    "dilated": lambda: nn.ConvTranspose2d(4, 3, 2, 2, 1, dilation=3),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bicubic": lambda: nn.Upsample(scale_factor=(4, 2), mode="bicubic"),
}


@pytest.mark.filterwarnings(SAYS)
@pytest.mark.parametrize("name", UPS)
def test_the_way_up_goes_around(name: str) -> None:
    up, z = UPS[name](), noise()
    layer = MASSUp(up).up
    with torch.no_grad():
        y, plain = layer(z), up(z)
        assert y.shape == plain.shape
        inner = (slice(None), slice(None), slice(12, -12), slice(12, -12))
        small = noise(size=(30, 30))
        torch.testing.assert_close(layer(small)[inner], up(small)[inner])
        rows, columns = (n // m for n, m in zip(y.shape[2:], SIZE, strict=True))
        expected = roll(y, (rows * 3, columns * 5))
        assert torch.equal(layer(roll(z, (3, 5))), expected)
        control = roll(plain, (rows * 3, columns * 5))
        assert not torch.allclose(up(roll(z, (3, 5))), control, atol=1e-3)


@pytest.mark.parametrize(
    ("up", "words"),
    [
        (nn.ConvTranspose2d(4, 3, 3, 2), "does not multiply"),
        (nn.Upsample(size=(9, 9)), "scale_factor"),
        (nn.Upsample(scale_factor=1.5), "whole numbers"),
    ],
)
def test_a_way_up_that_is_no_circle_is_refused(up: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MASSUp(up)


DOWNS = {
    "aps": lambda f: APSD(2, filter=f),
    "lps": lambda f: LPSD(4, 2, filter=f),
    "caps": lambda f: CAPSD(4, 2, filter=f),
    "aps up": lambda f: APSU(2, filter=f),
    "lps up": lambda f: LPSU(2, filter=f),
}


@pytest.mark.parametrize("name", DOWNS)
def test_filters_that_sample_are_refused_and_reflected_ones_said(name: str) -> None:
    with pytest.raises(ValueError, match="samples already"):
        DOWNS[name](BlurPool(3))
    with pytest.raises(ValueError, match="samples already"):
        DOWNS[name](DDAC(4, groups=2))
    with pytest.warns(UserWarning, match="not exact behind a filter with padding"):
        DOWNS[name](BlurPool(3, 1))


class Net(nn.Module):
    def __init__(self, down: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 6, 3, padding=1)
        self.down = down
        self.last = nn.Conv2d(6, 6, 3, padding=1)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(torch.relu(self.last(self.down(torch.relu(self.stem(x))))))


@pytest.mark.parametrize("kind", ["mass", "aps"])
def test_a_whole_net_is_made_circular(kind: str) -> None:
    down = APSD(2) if kind == "aps" else MASS(nn.Conv2d(6, 6, 3, 2), 2, padding=1)
    net, x = Net(down).eval(), noise()
    names = set(net.state_dict())
    with torch.no_grad():
        assert not torch.allclose(net(roll(x, (1, 3))), net(x), atol=1e-4)  # the control
        assert circular_(net) is net
        for shift in ((0, 1), (1, 3), (5, 10)):
            assert torch.equal(net(roll(x, shift)), net(x))
    assert set(net.state_dict()) == names


def test_a_grid_outside_of_the_layers_is_refused_by_name() -> None:
    for down in (nn.Conv2d(6, 6, 3, 2, 1), nn.MaxPool2d(2), BlurPool(3)):
        with pytest.raises(ValueError, match=r"down .* write MASS"):
            circular_(Net(down))
