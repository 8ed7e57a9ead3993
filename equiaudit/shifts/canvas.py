"""Shifts on the device: every kind is a window sliding over a larger canvas.

The canvas of an image holds the window and `reach` px around it: the image itself again
for circular shifts, the real neighbouring pixels for crop shifts, black for zero-pad
shifts (black *before* normalisation). Moving the content by (dy, dx) is cutting the window
at (reach - dy, reach - dx), so a shift costs one copy and no arithmetic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.models.types import Preprocess

__all__ = ["canvas", "cut", "fill", "middle", "normalise", "on_device"]


def normalise(pixels: NDArray[np.generic], how: Preprocess, device: torch.device) -> Tensor:
    """(N, H, W, C) uint8 or uint16 RGB or grey pixels -> (N, C, H, W) model input on `device`.

    x / 255 (or / 65535) in float32, less mean, over std, then channel order and dtype. A
    uint8 model gets the pixels themselves.
    """
    full = 65535 if pixels.dtype == np.uint16 else 255
    if how.dtype == "uint8":
        raw = pixels if full == 255 else (pixels // 257)
        return _order(on_device(torch.from_numpy(raw.astype(np.uint8)), device), how)
    # Bytes travel four times as fast as floats; 16 bits are beyond what every operator takes.
    plain = pixels.astype(np.uint8 if full == 255 else np.int32)  # a copy that may be written to
    x = on_device(torch.from_numpy(plain), device).to(torch.float32)
    mean = torch.tensor(how.mean, dtype=torch.float32, device=device)
    std = torch.tensor(how.std, dtype=torch.float32, device=device)
    x = x.div_(full).sub_(mean).div_(std)
    return _order(x, how).to(torch.float16 if how.dtype == "float16" else torch.float32)


def on_device(pixels: Tensor, device: torch.device) -> Tensor:
    """`pixels` on `device`; to an accelerator from pinned memory, without waiting for it."""
    if device.type != "cuda":
        return pixels.to(device)
    return pixels.pin_memory().to(device, non_blocking=True)


def _order(x: Tensor, how: Preprocess) -> Tensor:
    if how.channels == "bgr":
        x = x.flip(-1)
    return x.permute(0, 3, 1, 2).contiguous()


def canvas(source: Tensor, kind: str, window: tuple[int, int], reach: int, black: Tensor) -> Tensor:
    """(C, h, w) source -> (C, H + 2 reach, W + 2 reach) canvas with the window in its middle.

    `source` holds the H x W window in its middle, with real pixels around it where they
    were loaded. `black` is (C,), a black pixel as the model receives it.
    """
    shape = (source.shape[0], window[0] + 2 * reach, window[1] + 2 * reach)
    made = source.new_empty(shape)
    fill(made, source, kind, window, black)
    return made


def fill(canvas: Tensor, source: Tensor, kind: str, window: tuple[int, int], black: Tensor) -> None:
    """Draw a `canvas`, (C, H + 2 reach, W + 2 reach), in place.

    Of a crop canvas, what lies beyond the pixels of `source` keeps what it held.
    """
    if kind == "crop":
        real = tuple(
            side + 2 * min((there - side) // 2, (whole - side) // 2)
            for side, there, whole in zip(window, source.shape[1:], canvas.shape[1:], strict=True)
        )
        middle(canvas, *real).copy_(middle(source, *real))
        return
    inner = middle(source, *window)
    if kind == "circular":
        _wrap(canvas, inner)
        return
    canvas.copy_(black.reshape(-1, 1, 1).expand_as(canvas))
    middle(canvas, *window).copy_(inner)


def _wrap(canvas: Tensor, inner: Tensor) -> None:
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


def cut(canvas: Tensor, window: tuple[int, int], reach: int, offset: tuple[int, int]) -> Tensor:
    """View of the (C, H, W) window whose content moved by `offset` = (dy, dx)."""
    top, left = reach - offset[0], reach - offset[1]
    return canvas[:, top : top + window[0], left : left + window[1]]


def middle(x: Tensor, height: int, width: int) -> Tensor:
    """(C, height, width) view of the middle of (C, h, w)."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]


@lru_cache(maxsize=16)
def _wrapped(size: int, reach: int, device: torch.device) -> Tensor:
    return torch.arange(-reach, size + reach, device=device) % size
