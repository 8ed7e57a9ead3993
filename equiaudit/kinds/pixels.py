"""Parts of images, as views and copies."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def wrap(canvas: Tensor, inner: Tensor) -> None:
    """`inner` in the middle of `canvas`, and itself again around it."""
    height, width = inner.shape[1:]
    reach = (canvas.shape[1] - height) // 2
    if reach > min(height, width):
        rows, columns = (_wrapped(side, reach, inner.device) for side in (height, width))
        canvas.copy_(inner[:, rows][:, :, columns])
        return
    canvas[:, reach : reach + height, reach : reach + width] = inner
    canvas[:, :reach] = canvas[:, height : height + reach]
    canvas[:, height + reach :] = canvas[:, reach : 2 * reach]
    canvas[:, :, :reach] = canvas[:, :, width : width + reach]
    canvas[:, :, width + reach :] = canvas[:, :, reach : 2 * reach]


def middle(x: Tensor, height: int, width: int) -> Tensor:
    """(C, height, width) view of the middle of (C, h, w)."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]


@lru_cache(maxsize=16)
def _wrapped(size: int, reach: int, device: torch.device) -> Tensor:
    return torch.arange(-reach, size + reach, device=device) % size
