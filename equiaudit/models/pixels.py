"""Pixels as model input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equiaudit.models.types import Preprocess


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
