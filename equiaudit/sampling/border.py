"""Padding that asks whether the image has a border.

Zeros belong around a map where the image ends. Where its content goes on around the torus (a
texture, a panorama, an image rolled to a place that is no border) they cut it, and the other side
belongs there instead. Both are decided per sample and axis, from the image alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equiaudit.sampling.seam_contrast import line_contrast, middle_levels
from equiaudit.sampling.wrapping import Pads, wrap_axis

CLEAR = 1.3
"""How many times the third strongest line a border has to be. The second may be the other side of
a black strip. Chosen on the training photos of magnetic tiles: lower values close more stripy
textures at a wrong line, higher ones leave more borders open."""
_RANK = 3

Fill = float | Literal["edge"]


def has_border(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Whether x (B, C, H, W), of `size` (H, W), ends before its first row and column: (B, 2) bool.

    It does where the step from its last row to its first one, relative to the steps beside it, is
    `CLEAR` times that of nearly every other pair of rows; so for columns. The same for the same
    bits of x, but not where x is rolled: roll it to its `canonical_origin` first.
    """
    whole = middle_levels(x, channels)
    clear = [_is_clear(line_contrast(whole, axis, size), size[axis]) for axis in (0, 1)]
    return torch.stack(clear, 1)


def _is_clear(contrast: Tensor, lines: int) -> Tensor:
    """Whether the step after the last line stands out from all but two: (B, lines) -> (B,)."""
    rank = min(_RANK, lines)
    least = torch.select(torch.topk(contrast, rank, 1)[0], 1, rank - 1)
    return torch.select(contrast, 1, lines - 1) > CLEAR * least


def border_pad(x: Tensor, pads: Pads, size: tuple[int, int], found: Tensor, fill: Fill) -> Tensor:
    """Pad x (B, C, H, W), of `size` (H, W), by `pads` = (left, right, top, bottom), none negative.

    Along the axes where `found` (B, 2) holds with `fill`, a value or the nearest element of x
    ("edge"); along the others circularly.
    """
    left, right, top, bottom = pads
    x = _pad_axis(x, 2, size[0], (top, bottom), torch.select(found, 1, 0), fill)
    return _pad_axis(x, 3, size[1], (left, right), torch.select(found, 1, 1), fill)


def _pad_axis(
    x: Tensor, dim: int, size: int, pads: tuple[int, int], found: Tensor, fill: Fill
) -> Tensor:
    before, after = pads
    closed = found.reshape(-1, 1, 1, 1)
    parts = [x]
    if before:
        outside = _outside(x, dim, 0, fill)
        parts.insert(0, torch.where(closed, outside, wrap_axis(x, dim, size, -before, 0)))
    if after:
        outside = _outside(x, dim, size - 1, fill)
        parts.append(torch.where(closed, outside, wrap_axis(x, dim, size, size, size + after)))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _outside(x: Tensor, dim: int, at: int, fill: Fill) -> Tensor | float:
    return torch.narrow(x, dim, at, 1) if fill == "edge" else fill
