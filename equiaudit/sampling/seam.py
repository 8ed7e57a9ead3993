"""Where a circularly shifted photograph was cut: a position that moves with the content."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equiaudit.sampling.torus_hash import torus_hash
from equiaudit.sampling.wrapping import wrap_axis

_TINY = 1e-30


def canonical_position(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """The pixel (B, 2) int64 that a shift of x (B, C, H, W) cannot change, except to move it.

    `canonical_position(roll(x, d)) == canonical_position(x) + d` modulo the size, unless the
    image is itself periodic; then the views from both positions are the same. It lies at the
    strongest step between neighbouring rows and columns, relative to the steps beside it: on a
    photograph, the original border. Whole-number arithmetic throughout.
    """
    rows, cols = seam_scores(x, channels, size)
    return best_point(rows, cols, torus_hash(x, channels, size).long(), size)


def seam_scores(x: Tensor, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """How far the step before each row and each column stands out: (B, H) and (B, W), float32.

    Whole numbers so small that their sums stay below 2^24: exact in any order.
    """
    levels = float(min(2**14, 2**23 // (channels * max(size))))
    x = x.float()
    top = torch.clamp(torch.amax(torch.abs(x), [1, 2, 3], keepdim=True), min=_TINY)
    whole = torch.round(x * (levels / top))
    return _seam_score(whole, 2, 3, size[0]), _seam_score(whole, 3, 2, size[1])


def best_point(rows: Tensor, cols: Tensor, views: Tensor, size: Sequence[int]) -> Tensor:
    """The point (B, 2) int64 with the best row (B, H), the best column (B, W), the best view."""
    is_row = rows == torch.amax(rows, [1], keepdim=True)
    is_col = cols == torch.amax(cols, [1], keepdim=True)
    both = torch.logical_and(is_row.unsqueeze(2), is_col.unsqueeze(1))
    flat = torch.argmax(torch.where(both, views, -(2**62)).reshape(-1, size[0] * size[1]), 1)
    return torch.stack([torch.div(flat, size[1], rounding_mode="floor"), flat % size[1]], 1)


def _seam_score(whole: Tensor, dim: int, along: int, size: int) -> Tensor:
    """How much the step before each row (or column) exceeds both steps beside it: (B, size)."""
    before = wrap_axis(whole, dim, size, -1, size - 1)
    # Lines first, then channels: onnxruntime takes six times as long over both at once.
    step = torch.sum(torch.sum(torch.abs(whole - before), along), 1)
    beside = torch.maximum(
        wrap_axis(step, 1, size, -1, size - 1), wrap_axis(step, 1, size, 1, size + 1)
    )
    return step - beside
