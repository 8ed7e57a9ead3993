"""Outputs that are positions, moved as the image was: boxes and points, in px or shares of it.

A box (x1, y1, x2, y2) keeps its size and moves as a whole; its centre is brought into the image,
so one that crosses the border has a corner outside. A point (x, y) is brought into the image.
x counts columns and y rows. What follows in a row (a score, a class, a visibility, a width and a
height) stays. Rows that only fill up a fixed count move like the others. Points may also lie in one
row per image, x before y: (B, 2 K).

Detectors have boxes in two more forms: by the top left corner with a width and a height, and by
the centre relative to a cell of a grid, in steps of that grid, or to an anchor, in shares of its
size. The latter keep their rows, and so their cells and anchors: what was moved out of its cell has
x and y beyond it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from equiaudit.sampling.canonical import CanonicalPosition, in_its_steps
from equiaudit.sampling.wrapping import roll_by

__all__ = [
    "CanonicalOutputs",
    "Form",
    "Map",
    "PositionKind",
    "Positions",
    "Role",
    "Unit",
    "added",
    "cells_of",
    "moved_rows",
    "roll_positions",
]

PositionKind = Literal["boxes", "keypoints"]
Form = Literal["boxes", "keypoints", "corner", "cells"]
Unit = Literal["px", "share"]
_CORNERS = {"boxes": 2, "keypoints": 1, "corner": 1, "cells": 1}


@dataclass(frozen=True)
class Positions:
    """An output of positions: in px of the input, or in shares of its width and height.

    "corner" is x, y of the top left corner, then width and height; "cells" is x, y relative to
    the cells of grids of `strides`, in rows that run over one grid after another, or, where there
    are `anchors`, to those of each cell.
    """

    kind: Form
    unit: Unit = "px"
    columns: bool = False
    """(B, n, K): a column for each, not a row."""
    strides: tuple[int, ...] = ()
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    """(width, height), px, of the anchors of a cell, stride by stride."""
    variances: tuple[float, float] = (1.0, 1.0)
    """x and y are in such shares of an anchor's width and height."""

    @property
    def corners(self) -> int:
        """Points in a row."""
        return _CORNERS[self.kind]

    def flat(self, rank: int) -> bool:
        """Whether an output of `rank` axes has all its points in one row."""
        return self.kind == "keypoints" and rank == 2

    def rows(self, y: Tensor) -> Tensor:
        """As rows, the numbers of a position along the last axis."""
        return y.transpose(1, 2) if self.columns else y

    def back(self, y: Tensor) -> Tensor:
        """Rows as they were."""
        return y.transpose(1, 2).contiguous() if self.columns else y


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


def cells_of(role: Positions, size: tuple[int, int]) -> Tensor:
    """(A, 4) for every row: what is added to x and y, and the px that a step of each is then.

    Whole numbers, the column, the row and the stride, of cells; float64 of anchors.
    """
    grids = []
    for place, stride in enumerate(role.strides):
        rows, columns = (ceil(side / stride) for side in size)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells = torch.stack([x, y], -1).reshape(-1, 2)
        if role.anchors:
            sizes = torch.tensor(role.anchors[place], dtype=torch.float64)
            steps = (sizes * torch.tensor(role.variances)).repeat(len(cells), 1)
            middles = ((cells + 0.5) * stride).repeat_interleave(len(sizes), 0)
            grids.append(torch.cat([middles / steps, steps], 1))
        else:
            grids.append(torch.cat([cells, torch.full_like(cells, stride)], 1))
    return torch.cat(grids)


def roll_positions(
    y: Tensor,
    shift: Tensor,
    size: tuple[int, int],
    role: Positions,
) -> Tensor:
    """`y` (B, ..., n) on a torus of `size` = (H, W), moved by `shift` (B, 2), rows and columns.

    The shift is in px, whatever the unit of y. The last axis starts with 4 (boxes) or 2
    coordinates; keypoints (B, 2 K) are K of them. One shift may serve all rows of (K, n).
    """
    if role.flat(y.dim()):
        if y.shape[1] % 2:
            raise ValueError(f"points in rows of {y.shape[1]} numbers are no pairs of x and y")
        return roll_positions(y.reshape(-1, y.shape[1] // 2, 2), shift, size, role).flatten(1)
    rows = role.rows(y)
    sides = torch.tensor([size[1], size[0]], device=y.device)
    cells = cells_of(role, size).to(y.device) if role.strides else None
    return role.back(moved_rows(rows, shift, sides, role, rows.dim(), rows.shape[-1], cells))


def moved_rows(
    y: Tensor,
    shift: Tensor,
    sides: Tensor,
    role: Positions,
    rank: int,
    width: int,
    cells: Tensor | None,
) -> Tensor:
    """`roll_positions` for rows y of `rank` axes, the last of them `width` long.

    `sides` is (W, H), whole numbers, and `cells` (K, 4) those of `cells_of`. It asks no tensor for
    its shape, so that it may be recorded.
    """
    count = 2 * role.corners
    places = torch.narrow(y, -1, 0, count)
    by = torch.flip(shift, [1]).type_as(y).reshape(-1, *([1] * (rank - 2)), 2)
    around = sides.type_as(y)
    first, last = torch.narrow(places, -1, 0, 2), torch.narrow(places, -1, count - 2, 2)
    if role.unit == "share":
        by, around = by / around, torch.ones_like(around)
    if cells is not None:
        first = last = first + torch.narrow(cells, -1, 0, 2).type_as(y)
        step = torch.narrow(cells, -1, 2, 2).type_as(y)
        by, around = by / step, around / step
    elif role.kind == "corner":
        last = first + torch.narrow(y, -1, 2, 2)
    turns = torch.div(first + last + 2 * by, 2 * around, rounding_mode="floor")
    step = by - turns * around
    moved = places + torch.cat([step] * role.corners, -1)
    return torch.cat([moved, torch.narrow(y, -1, count, width - count)], -1)


def added(y: Tensor, offset: Tensor, role: Positions) -> Tensor:
    """`y` as of `roll_positions`, in px, moved by `offset` (B, 2) and not around a torus."""
    rows = role.rows(y)
    by = torch.flip(offset, [1]).type_as(y).reshape(-1, *([1] * (rows.dim() - 2)), 2)
    count, width = 2 * role.corners, rows.shape[-1]
    moved = torch.narrow(rows, -1, 0, count) + torch.cat([by] * role.corners, -1)
    return role.back(torch.cat([moved, torch.narrow(rows, -1, count, width - count)], -1))


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
            return roll_positions(y, origin, size, role)
        if role is None:
            return y
        maps = role.first(y)
        return role.back(self.roll(maps, in_its_steps(maps, origin, size)), y.dim())
