"""Pixels as model input."""

from __future__ import annotations

from collections.abc import Sequence

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
    # Channels are put in order as bytes, which are a quarter of what floats are.
    ordered = (pixels[..., ::-1] if how.channels == "bgr" else pixels).transpose(0, 3, 1, 2)
    if how.dtype == "uint8":
        raw = ordered if full == 255 else (ordered // 257)
        return on_device(torch.from_numpy(raw.astype(np.uint8, order="C")), device)
    # Bytes travel four times as fast as floats; 16 bits are beyond what every operator takes.
    plain = ordered.astype(np.uint8 if full == 255 else np.int32, order="C")  # may be written to
    x = on_device(torch.from_numpy(plain), device).to(torch.float32)
    mean, std = (_of_channels(values, how, device) for values in (how.mean, how.std))
    x = x.div_(full).sub_(mean).div_(std)
    return x.to(torch.float16 if how.dtype == "float16" else torch.float32)


def _of_channels(values: Sequence[float], how: Preprocess, device: torch.device) -> Tensor:
    """(C, 1, 1), or (1, 1, 1) for all, of values in the order of the pixels."""
    own = torch.tensor(values, dtype=torch.float32, device=device)
    return (own.flip(0) if how.channels == "bgr" else own)[:, None, None]


def on_device(pixels: Tensor, device: torch.device) -> Tensor:
    """`pixels` on `device`; to an accelerator from pinned memory, without waiting for it."""
    if device.type != "cuda":
        return pixels.to(device)
    return pixels.pin_memory().to(device, non_blocking=True)
