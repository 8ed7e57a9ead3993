"""Masks and key points of boxes, as columns behind the six of a box.

Of P key points x, y and visibility each, px; then a mask of the window, 24 pixels to a number,
row by row, the first pixel the lowest bit: float32 holds such numbers exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BITS = 24
_INSIDE = 0.5
"""Probability from which on a pixel is of the mask, as torchvision's references have it."""
COLUMNS = 6
"""Of a box by itself."""


def extras_of(each: Mapping[str, Any]) -> Tensor | None:
    """(K, ...) columns of one image's dict of torchvision's; None where it has neither."""
    parts = []
    if "keypoints" in each:
        parts.append(each["keypoints"].float().flatten(1))
    if "masks" in each:
        parts.append(packed(each["masks"].flatten(1) >= _INSIDE))
    return torch.cat(parts, 1) if parts else None


def packed(pixels: Tensor) -> Tensor:
    """(K, H * W) bool -> (K, ceil(H * W / 24)) float32."""
    count, short = len(pixels), -pixels.shape[1] % _BITS
    bits = torch.nn.functional.pad(pixels, (0, short)).reshape(count, -1, _BITS)
    weights = 2.0 ** torch.arange(_BITS, device=pixels.device)
    return bits.float() @ weights


def points_in(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(K, 6 + ...) -> (K, count, 2) x, y of key points."""
    return rows[:, COLUMNS : COLUMNS + 3 * count].reshape(len(rows), count, 3)[:, :, :2]


def masks_in(rows: NDArray[np.float64], points: int, window: tuple[int, int]) -> NDArray[np.uint8]:
    """(K, 6 + ...) -> (K, ceil(H * W / 8)) bytes as `numpy.packbits` has them."""
    words = rows[:, COLUMNS + 3 * points :].astype(np.uint32)
    bits = (words[:, :, None] >> np.arange(_BITS, dtype=np.uint32)) & 1
    flat = bits.reshape(len(rows), -1)[:, : window[0] * window[1]]
    return np.packbits(flat.astype(np.bool_), axis=1)
