"""Leaving the border out of a selection: how wide, and what it buys and costs.

Under a shift of a crop only a border strip changes, so a statistic of the middle alone is the
statistic of shared pixels (CAPS, adaptive windowing). Under a circular shift content crosses the
window's edge, and a choice that was exact no longer is: the one is paid for with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def window_width(max_shift: int, radius: int, stride: int, size: int) -> int:
    """How many px of a map to leave out on each side: ceil((max_shift + radius) / stride).

    `max_shift` is the shift to withstand and `radius` how far the padding reaches into the map,
    both in px of the input; `stride` is that of the map, and a quarter of its `size` the most.
    """
    return min(-(-(max_shift + radius) // stride), size // 4)


def central(x: Tensor, width: int | tuple[int, int]) -> Tensor:
    """The middle of x (..., h, w): `width` px fewer on each side, at most a quarter of the map."""
    wanted = (width, width) if isinstance(width, int) else width
    for dim, cut in zip((-2, -1), wanted, strict=True):
        size = x.shape[dim]
        cut = min(cut, size // 4)
        if cut:
            x = x.narrow(dim, cut, size - 2 * cut)
    return x


@dataclass(frozen=True)
class WindowTrade:
    """How often a choice followed the content: shares in 0..1 of images and shifts."""

    width: int
    circular: float
    crop: float


def window_trade(
    origins: Callable[[Tensor, int], Tensor],
    scenes: Tensor,
    *,
    size: tuple[int, int],
    stride: int,
    widths: Sequence[int],
    shifts: Sequence[tuple[int, int]],
) -> tuple[WindowTrade, ...]:
    """Measure the trade: one row per window width.

    `origins(x, width)` chooses (B, 2) for x (B, C, *size). `scenes` are (B, C, H, W) and larger
    than `size` by at least the largest shift; shifts are (rows, columns) >= 0, in px. A crop moves
    over the scene, so its content moves the other way; a circular shift rolls the first crop.
    """
    return tuple(_trade(origins, scenes, size, stride, width, shifts) for width in widths)


def _trade(
    origins: Callable[[Tensor, int], Tensor],
    scenes: Tensor,
    size: tuple[int, int],
    stride: int,
    width: int,
    shifts: Sequence[tuple[int, int]],
) -> WindowTrade:
    frame = _crop(scenes, (0, 0), size)
    base = origins(frame, width)
    rolled, cropped = [], []
    for shift in shifts:
        step = torch.tensor(shift, device=base.device)
        after_roll = origins(torch.roll(frame, shift, (-2, -1)), width)
        after_crop = origins(_crop(scenes, shift, size), width)
        rolled.append(_follows(base + step - after_roll, stride))
        cropped.append(_follows(base - step - after_crop, stride))
    return WindowTrade(width, torch.cat(rolled).mean().item(), torch.cat(cropped).mean().item())


def _crop(scenes: Tensor, at: tuple[int, int], size: tuple[int, int]) -> Tensor:
    return scenes[..., at[0] : at[0] + size[0], at[1] : at[1] + size[1]]


def _follows(gap: Tensor, stride: int) -> Tensor:
    return (gap % stride == 0).all(1).double()
