"""The energy of every polyphase component, exact in the sense that no shift changes a bit of it."""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = float(2**30)
_TINY = 1e-300
_BLOCK = 2**17  # elements of one sample's block: 512 KiB


def channel_energy(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Sum of squares over the channels of x (B, C, H, W): (B, H, W), float32.

    `shape` is (C, H, W). The sum is a fixed tree of elementwise additions: a reduction may add in
    another order for the pixels at the end of a vector, but elementwise IEEE operations treat
    every pixel alike, on every device. Channels are taken in blocks that stay in the cache.
    """
    channels, height, width = shape
    block = max(1, _BLOCK // (height * width))
    total = None
    for first in range(0, channels, block):
        count = min(block, channels - first)
        part = torch.narrow(x, 1, first, count).float()
        part = _fold(part * part, count)
        total = part if total is None else total + part
    return torch.squeeze(total, 1)  # type: ignore[arg-type]


def _fold(y: Tensor, channels: int) -> Tensor:
    """Sum over dimension 1, pairwise: (B, C, H, W) to (B, 1, H, W)."""
    while channels > 1:
        half = channels // 2
        folded = torch.narrow(y, 1, 0, half) + torch.narrow(y, 1, half, half)
        if channels % 2:
            last = torch.narrow(y, 1, 2 * half, 1)
            folded = folded + last if half == 1 else torch.cat([folded, last], 1)
        channels = half + (channels % 2 if half > 1 else 0)
        y = folded
    return y


def quantise(energy: Tensor) -> Tensor:
    """Map (B, H, W) >= 0 to whole numbers 0..2^30 of each sample's maximum, as float64.

    Sums of up to 2^22 of them stay below 2^52: exact, so the order of addition cannot matter.
    """
    wide = energy.double()
    top = torch.clamp(torch.amax(wide, [1, 2], keepdim=True), min=_TINY)
    return torch.round(wide * (_LEVELS / top))


def component_sums(values: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Sum `values` (B, H, W) over each polyphase component: (B, sh, sw), same dtype.

    `size` is (H, W), divisible by `stride`. Exact when the values are whole and small enough.
    """
    (height, width), (sh, sw) = size, stride
    split = values.reshape(-1, height // sh, sh, width // sw, sw)
    return torch.sum(split, [1, 3])
