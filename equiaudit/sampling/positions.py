"""Outputs that are positions, moved as the image was: boxes and points, in px or shares of it.

A box (x1, y1, x2, y2) keeps its size and moves as a whole; its centre is brought into the image,
so one that crosses the border has a corner outside. A point (x, y) is brought into the image.
x counts columns and y rows. What follows in a row (a score, a class, a visibility, a width and a
height) stays. Rows that only fill up a fixed count move like the others. Points may also lie in one
row per image, x before y: (B, 2 K).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from equiaudit.sampling.canonical import CanonicalPosition, in_its_steps
from equiaudit.sampling.wrapping import roll_by

__all__ = ["CanonicalOutputs", "Map", "PositionKind", "Positions", "Role", "Unit", "roll_positions"]

PositionKind = Literal["boxes", "keypoints"]
Unit = Literal["px", "share"]
_CORNERS = {"boxes": 2, "keypoints": 1}


@dataclass(frozen=True)
class Positions:
    """An output of positions: in px of the input, or in shares of its width and height."""

    kind: PositionKind
    unit: Unit = "px"

    @property
    def corners(self) -> int:
        """Points in a row."""
        return _CORNERS[self.kind]


@dataclass(frozen=True)
class Map:
    """An output of maps, (B, C, h, w) or (B, h, w), or with the channels last."""

    channels_last: bool = False

    def first(self, y: Tensor) -> Tensor:
        """As (B, C, h, w)."""
        if y.dim() == 3:
            return y.unsqueeze(1)
        return y.permute(0, 3, 1, 2) if self.channels_last else y

    def back(self, y: Tensor, rank: int) -> Tensor:
        """(B, C, h, w) as it was, of `rank` axes."""
        if rank == 3:
            return y.squeeze(1)
        return y.permute(0, 2, 3, 1).contiguous() if self.channels_last else y


Role: TypeAlias = Positions | Map | None
"""What an output is; None for what says nothing about places."""


def roll_positions(
    y: Tensor, shift: Tensor, size: tuple[int, int], kind: PositionKind, unit: Unit = "px"
) -> Tensor:
    """`y` (B, ..., n) on a torus of `size` = (H, W), moved by `shift` (B, 2), rows and columns.

    The shift is in px, whatever the unit of y. The last axis starts with 4 (boxes) or 2
    (keypoints) coordinates; keypoints (B, 2 K) are K of them. One shift may serve all rows of
    (K, n).
    """
    if kind == "keypoints" and y.dim() == 2:
        if y.shape[1] % 2:
            raise ValueError(f"points in rows of {y.shape[1]} numbers are no pairs of x and y")
        return roll_positions(y.reshape(-1, y.shape[1] // 2, 2), shift, size, kind, unit).flatten(1)
    corners = _CORNERS[kind]
    places = torch.narrow(y, -1, 0, 2 * corners)
    around = torch.tensor([size[1], size[0]], dtype=y.dtype, device=y.device)
    by = torch.flip(shift, [1]).to(y.dtype).reshape(-1, *([1] * (y.dim() - 2)), 2)
    if unit == "share":
        by, around = by / around, torch.ones_like(around)
    first, last = torch.narrow(places, -1, 0, 2), torch.narrow(places, -1, 2 * corners - 2, 2)
    turns = torch.div(first + last + 2 * by, 2 * around, rounding_mode="floor")
    step = by - turns * around
    moved = places + torch.cat([step] * corners, -1)
    rest = torch.narrow(y, -1, 2 * corners, y.shape[-1] - 2 * corners)
    return torch.cat([moved, rest], -1)


class CanonicalOutputs(nn.Module):
    """`Canonical` for a module of outputs, a tensor or a tuple, of different kinds.

    `roles` says of each output in turn what it is: positions and maps are moved back, and None,
    what says nothing about places, is passed on.
    """

    def __init__(self, module: nn.Module, roles: Sequence[Role]) -> None:
        super().__init__()
        self.module = module
        self.roles = tuple(roles)
        self.position: nn.Module = CanonicalPosition()
        self.roll = roll_by

    def forward(self, x: Tensor) -> Any:
        """(B, C, H, W) -> what the module returns, in the frame of x."""
        origin = self.position(x)
        returned = self.module(self.roll(x, -origin))
        outputs = [returned] if isinstance(returned, Tensor) else list(returned)
        size = (x.shape[2], x.shape[3])
        moved = [
            self._moved(y, role, origin, size) for y, role in zip(outputs, self.roles, strict=True)
        ]
        return moved[0] if isinstance(returned, Tensor) else tuple(moved)

    def _moved(self, y: Tensor, role: Role, origin: Tensor, size: tuple[int, int]) -> Tensor:
        if isinstance(role, Positions):
            return roll_positions(y, origin, size, role.kind, role.unit)
        if role is None:
            return y
        maps = role.first(y)
        return role.back(self.roll(maps, in_its_steps(maps, origin, size)), y.dim())
