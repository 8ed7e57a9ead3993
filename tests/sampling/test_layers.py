"""The layers on their own: exact laws, gradients, and choices that must not be equivariant."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiaudit.sampling import (
    MASS,
    CircularPad2d,
    MASSUp,
    OrderFreeMean,
    OriginSelector,
    canonical_position,
    roll_by,
    torus_hash,
)

SIZE = (8, 12)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 4, *SIZE, generator=torch.Generator().manual_seed(0))


def every_shift() -> list[tuple[int, int]]:
    return [(a, b) for a in range(SIZE[0]) for b in range(SIZE[1])]


def roll(x: Tensor, shift: tuple[int, int]) -> Tensor:
    return torch.roll(x, shift, (-2, -1))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_roll_by_is_torch_roll_of_each_sample(x: Tensor, memory: torch.memory_format) -> None:
    x = x.to(memory_format=memory)
    offsets = torch.tensor([[0, 1], [-3, 5], [9, -20]])
    expected = torch.stack([roll(i, tuple(d)) for i, d in zip(x, offsets.tolist(), strict=True)])
    rolled = roll_by(x, offsets)
    assert torch.equal(rolled, expected)
    assert rolled.is_contiguous(memory_format=memory)


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 3, 2, 0), (-1, 2, 0, -2)])
def test_circular_padding_indexes_a_circle(x: Tensor, pads: tuple[int, int, int, int]) -> None:
    left, right, top, bottom = pads
    rows = torch.arange(-top, SIZE[0] + bottom) % SIZE[0]
    cols = torch.arange(-left, SIZE[1] + right) % SIZE[1]
    assert torch.equal(CircularPad2d(pads)(x), x[:, :, rows][:, :, :, cols])


def test_circular_padding_wraps_more_than_once(x: Tensor) -> None:
    rows = torch.arange(-20, SIZE[0] + 20) % SIZE[0]
    cols = torch.arange(-20, SIZE[1] + 20) % SIZE[1]
    assert torch.equal(CircularPad2d(20)(x), x[:, :, rows][:, :, :, cols])


def test_view_hash_moves_with_the_image(x: Tensor) -> None:
    views = torus_hash(x, 4, SIZE)
    for shift in every_shift():
        assert torch.equal(torus_hash(roll(x, shift), 4, SIZE), roll(views, shift))


def test_view_hash_tells_all_pixels_of_one_dot_apart() -> None:
    dot = torch.zeros(1, 1, 16, 16)
    dot[0, 0, 3, 5] = 0.5
    assert torus_hash(dot, 1, (16, 16)).unique().numel() == 256


@pytest.mark.parametrize("period", [1, 2, 4, 8, 16])
def test_view_hash_has_exactly_the_symmetries_of_stripes(period: int) -> None:
    """A hash that loses bits to repetition, or to alternation, would tie where nothing repeats."""
    stripes = (torch.arange(32) % period < (period + 1) // 2).float().expand(1, 1, 32, 32)
    views = torus_hash(stripes, 1, (32, 32))
    assert views.unique().numel() == period
    assert torch.equal(views, torch.roll(views, period, 2))


def test_canonical_position_moves_with_the_image(x: Tensor) -> None:
    base, size = canonical_position(x, 4, SIZE), torch.tensor(SIZE)
    for shift in every_shift():
        moved = canonical_position(roll(x, shift), 4, SIZE)
        assert torch.equal(moved, (base + torch.tensor(shift)) % size)


def test_canonical_position_finds_the_border_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 12).expand(1, 1, 8, 12) + torch.linspace(0, 1, 8)[:, None]
    assert canonical_position(roll(ramp, (3, 7)), 1, SIZE).tolist() == [[3, 7]]


OPS = {
    "conv": (nn.Conv2d(4, 5, 3, 2), 2, (1, 1, 1, 1)),
    "patchify": (nn.Conv2d(4, 5, 4, 4), 4, (0, 0, 0, 0)),
    "max": (nn.MaxPool2d(3, 2), 2, (1, 1, 1, 1)),
    "avg": (nn.AvgPool2d(2, 2), 2, (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", OPS)
def test_mass_obeys_the_closed_form(x: Tensor, name: str) -> None:
    op, stride, pads = OPS[name]
    layer = MASS(op, stride, pads)
    o, y = layer.select(x), layer(x)
    for shift in every_shift():
        moved = roll(x, shift)
        steps = o + torch.tensor(shift) - layer.select(moved)
        assert (steps % stride == 0).all()
        assert torch.equal(layer(moved), roll_by(y, steps // stride))


def test_control_an_origin_per_channel_fails(x: Tensor) -> None:
    """Channels on different grids meet in the next convolution."""
    conv = nn.Conv2d(4, 5, 3, 2)
    select = OriginSelector(2)

    def layer(x: Tensor) -> Tensor:
        flat = x.reshape(-1, 1, *SIZE)
        return conv(CircularPad2d(1)(roll_by(flat, -select(flat)).reshape(x.shape))).amax((2, 3))

    assert not torch.allclose(layer(roll(x, (1, 1))), layer(x), atol=1e-3)


def test_selector_takes_the_component_of_most_energy(x: Tensor) -> None:
    energies = torch.stack(
        [x[..., i::2, j::2].double().square().sum((1, 2, 3)) for i in (0, 1) for j in (0, 1)]
    )
    best = energies.argmax(0)
    assert torch.equal(OriginSelector(2)(x), torch.stack([best // 2, best % 2], 1))


def test_selector_refuses_sizes_without_whole_grids(x: Tensor) -> None:
    with pytest.raises(ValueError, match="8x12"):
        OriginSelector(5)(x)


def test_mass_up_returns_to_the_input_grid(x: Tensor) -> None:
    down, up = MASS(nn.AvgPool2d(2), 2), MASSUp(nn.Upsample(scale_factor=2))
    y = up(down(x), down.select(x))
    for shift in every_shift():
        moved = roll(x, shift)
        assert torch.equal(up(down(moved), down.select(moved)), roll(y, shift))


def test_gradients_flow_through_the_roll(x: Tensor) -> None:
    layer = MASS(nn.Conv2d(4, 5, 3, 2), 2, 1)
    x = x.double().requires_grad_()
    layer.double()
    (grad,) = torch.autograd.grad(layer(x).square().sum(), x)
    o = layer.select(x.detach())
    assert o.any()
    aligned = roll_by(x.detach(), -o).requires_grad_()
    y = layer.op(F.pad(aligned, (1, 1, 1, 1), mode="circular"))
    (expected,) = torch.autograd.grad(y.square().sum(), aligned)
    torch.testing.assert_close(grad, roll_by(expected, o))


def test_order_free_mean_is_the_same_for_every_order() -> None:
    x = torch.randn(2, 64, 7, 9, generator=torch.Generator().manual_seed(1)) * 100
    mean = OrderFreeMean()
    expected = mean(x)
    torch.testing.assert_close(expected, x.mean((2, 3), keepdim=True), rtol=1e-4, atol=1e-5)
    plain = 0
    for seed in range(5):
        order = torch.randperm(63, generator=torch.Generator().manual_seed(seed))
        mixed = x.flatten(2)[..., order].reshape(x.shape)
        assert torch.equal(mean(mixed), expected)
        plain += int((mixed.mean((2, 3)) != x.mean((2, 3))).sum())
    assert plain > 0  # the control: torch's own mean depends on the order


def test_order_free_mean_of_zeros_is_zero() -> None:
    assert torch.equal(OrderFreeMean(keepdim=False)(torch.zeros(1, 2, 4, 4)), torch.zeros(1, 2))
