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


def beside(
    keypoints: Tensor | None, masks: Tensor | None, units: str, window: tuple[int, int]
) -> Tensor | None:
    """(K, ...) columns of one image's key points (K, P, 2 or more) and masks (K, h, w)."""
    parts = []
    if keypoints is not None:
        parts.append(_in_px(keypoints.float(), units, window).flatten(1))
    if masks is not None:
        parts.append(packed(_of_window(masks.float(), window).flatten(1) >= _INSIDE))
    return torch.cat(parts, 1) if parts else None


def behind(numbers: Tensor, count: int, units: str, window: tuple[int, int]) -> Tensor:
    """(K, 3 count) columns of key points that follow the scores of rows."""
    points = numbers.float().reshape(len(numbers), count, 3)
    return _in_px(points, units, window).flatten(1)


def of_prototypes(
    shares: Tensor, prototypes: Tensor, boxes: Tensor, window: tuple[int, int]
) -> Tensor:
    """(K, ...) columns of masks: (K, M) shares of prototypes (M, h, w), cut to their boxes in px.

    As Ultralytics' `process_mask_native` has it: resized to the window, cut, and above 0.
    """
    height, width = window
    logits = (shares.float() @ prototypes.float().flatten(1)).reshape(-1, *prototypes.shape[1:])
    found = _of_window(logits, window) > 0
    x = torch.arange(width, device=boxes.device)[None, None]
    y = torch.arange(height, device=boxes.device)[None, :, None]
    left, top, right, bottom = (side[:, None, None] for side in boxes.unbind(1))
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return packed((found & inside).flatten(1))


def _in_px(points: Tensor, units: str, window: tuple[int, int]) -> Tensor:
    """(K, P, 3): x and y in px, and a third number, 1 where there is none."""
    if units == "share":
        height, width = window
        places = points[..., :2] * points.new_tensor([width, height])
        points = torch.cat([places, points[..., 2:]], -1)
    if points.shape[-1] == 2:
        return torch.cat([points, torch.ones_like(points[..., :1])], -1)
    return points[..., :3]


def _of_window(masks: Tensor, window: tuple[int, int]) -> Tensor:
    """(K, h, w) -> (K, H, W), between pixels linear."""
    if tuple(masks.shape[1:]) == window or not len(masks):
        return masks.new_zeros((0, *window)) if not len(masks) else masks
    return torch.nn.functional.interpolate(masks[None], window, mode="bilinear")[0]


def packed(pixels: Tensor) -> Tensor:
    """(K, H * W) bool -> (K, ceil(H * W / 24)) float32."""
    count, short = len(pixels), -pixels.shape[1] % _BITS
    bits = torch.nn.functional.pad(pixels, (0, short)).reshape(
        count, (pixels.shape[1] + short) // _BITS, _BITS
    )
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
