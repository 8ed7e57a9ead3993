"""Outputs that are positions, moved as the image was: boxes and points, in px of the input.

A box (x1, y1, x2, y2) keeps its size and moves as a whole; its centre is brought into the image,
so one that crosses the border has a corner outside. A point (x, y) is brought into the image.
x counts columns and y rows. What follows in a row (a score, a class, a visibility) stays. Rows that
only fill up a fixed count move like the others.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from equiaudit.sampling.canonical import CanonicalPosition
from equiaudit.sampling.wrapping import roll_by

__all__ = ["CanonicalPositions", "PositionKind", "roll_positions"]

PositionKind = Literal["boxes", "keypoints"]
_CORNERS = {"boxes": 2, "keypoints": 1}


def roll_positions(y: Tensor, shift: Tensor, size: tuple[int, int], kind: PositionKind) -> Tensor:
    """`y` (B, ..., n) on a torus of `size` = (H, W), moved by `shift` (B, 2), rows and columns.

    The last axis starts with 4 (boxes) or 2 (keypoints) coordinates.
    """
    corners = _CORNERS[kind]
    places = torch.narrow(y, -1, 0, 2 * corners)
    by = torch.flip(shift, [1]).to(y.dtype).reshape(-1, *([1] * (y.dim() - 2)), 2)
    around = torch.tensor([size[1], size[0]], dtype=y.dtype, device=y.device)
    first, last = torch.narrow(places, -1, 0, 2), torch.narrow(places, -1, 2 * corners - 2, 2)
    turns = torch.div(first + last + 2 * by, 2 * around, rounding_mode="floor")
    step = by - turns * around
    moved = places + torch.cat([step] * corners, -1)
    rest = torch.narrow(y, -1, 2 * corners, y.shape[-1] - 2 * corners)
    return torch.cat([moved, rest], -1)


class CanonicalPositions(nn.Module):
    """`Canonical` for a module whose outputs, a tensor or a tuple, may be positions.

    `kinds` says of each output in turn what it is: "boxes" or "keypoints", which are moved back,
    or None for what says nothing about places.
    """

    def __init__(self, module: nn.Module, kinds: tuple[PositionKind | None, ...]) -> None:
        super().__init__()
        self.module = module
        self.kinds = kinds
        self.position: nn.Module = CanonicalPosition()
        self.roll = roll_by

    def forward(self, x: Tensor) -> Any:
        """(B, C, H, W) -> what the module returns, positions in the frame of x."""
        origin = self.position(x)
        returned = self.module(self.roll(x, -origin))
        outputs = [returned] if isinstance(returned, Tensor) else list(returned)
        size = (x.shape[2], x.shape[3])
        moved = [
            y if kind is None else roll_positions(y, origin, size, kind)
            for y, kind in zip(outputs, self.kinds, strict=True)
        ]
        return moved[0] if isinstance(returned, Tensor) else tuple(moved)
