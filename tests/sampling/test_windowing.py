"""Windows: their width, what they leave, and the trade they make, measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equiaudit.sampling import APSSelector, window_trade, window_width
from equiaudit.sampling.windowing import central

SIZE = (64, 64)
SHIFTS = [(0, 1), (1, 0), (1, 3), (2, 1), (3, 3), (4, 1)]


@pytest.mark.parametrize(
    ("shift", "radius", "stride", "size", "width"),
    [(4, 0, 1, 64, 4), (4, 3, 2, 64, 4), (16, 5, 4, 64, 6), (16, 20, 4, 16, 4), (0, 0, 8, 8, 0)],
)
def test_width_covers_shift_and_padding_up_to_a_quarter(
    shift: int, radius: int, stride: int, size: int, width: int
) -> None:
    assert window_width(shift, radius, stride, size) == width


def test_central_leaves_out_the_border() -> None:
    x = torch.arange(64.0).reshape(8, 8)
    assert torch.equal(central(x, 1), x[1:-1, 1:-1])
    assert torch.equal(central(x, (0, 2)), x[:, 2:-2])
    assert central(x, 99).shape == (4, 4)


def origins(x: Tensor, width: int) -> Tensor:
    return APSSelector(2, window=width)(x).origin


def busy_border(count: int = 24) -> Tensor:
    """Objects in the middle, and a strip of strong noise at the left edge of the scene."""
    generator = torch.Generator().manual_seed(0)
    scene = torch.zeros(count, 1, SIZE[0] + 8, SIZE[1] + 8)
    scene[..., 26:46, 28:48] = torch.randn(count, 1, 20, 20, generator=generator)
    scene[..., :8] = 4 * torch.randn(count, 1, SIZE[0] + 8, 8, generator=generator)
    return scene


def test_a_window_trades_exactness_on_the_circle_for_steadiness_under_crops() -> None:
    """Too narrow a window gains little; one that covers the strip follows every crop."""
    trades = window_trade(
        origins, busy_border(), size=SIZE, stride=2, widths=(0, 1, 4), shifts=SHIFTS
    )
    plain, narrow, wide = trades
    assert (plain.width, plain.circular) == (0, 1.0)
    assert plain.crop < 0.8
    assert narrow.crop < 0.8
    assert wide.crop == 1.0


def test_control_on_even_texture_a_window_costs_exactness_and_gains_nothing() -> None:
    """Content that crosses the window's edge decides as much as what stays inside."""
    scenes = torch.randn(24, 1, 72, 72, generator=torch.Generator().manual_seed(1))
    plain, wide = window_trade(origins, scenes, size=SIZE, stride=2, widths=(0, 4), shifts=SHIFTS)
    assert plain.circular == 1.0
    assert wide.circular < 0.95
    assert wide.crop < plain.crop + 0.1
