"""Choose the crop by what is in it, so that a camera that really moves often changes nothing.

The input is m px larger than the model's window, so there are (m + 1)^2 crops. A rule that reads
only content picks one; where the content moves and the rule picks the same piece of the scene
again, the model sees the same bits. After RICS (Shifman & Weiss, "Lost in Translation", ECCV
2024), which takes the crop that maximises a local response: under a shift of 1 px the two sets of
candidates differ at both ends, and each end may hold the winner.

Here the winner is a landmark, sought in the whole input, and the crop is the one whose offset is
congruent to it modulo m + 1; there is exactly one. The landmark nearly always stays in sight, so
a shift by 1 px along an axis changes the choice once in m + 1 times instead of twice in m + 2.
No rule can do better: a choice cannot outlast the m + 1 windows that contain it. (The same step
as from random to mod-minimizers of strings: Groot Koerkamp & Pibiri, WABI 2024.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.sampling.dense_outputs import change_maps
from equiaudit.sampling.positions import Positions, Role, added
from equiaudit.sampling.wrapping import gather_window, is_nhwc

_STEPS = 1024.0
_LARGEST = 2.0**18


def agreement_bound(margin: int, shift: tuple[int, int]) -> float:
    """P(same crop) of RICS under a shift (rows, columns), in px, for exchangeable responses.

    The winner of both candidate sets together must lie in what they share: I / (2 (m + 1)^2 - I)
    with I = (m + 1 - |a|)(m + 1 - |b|), or 0 where they share nothing.
    """
    shared = _shared(margin + 1, margin + 1, shift)
    return shared / (2 * (margin + 1) ** 2 - shared)


def agreement_expected(
    margin: int, shift: tuple[int, int], size: tuple[int, int], cell: int = 4
) -> float:
    """P(same crop) of `CropSelect` on an input of `size` (H, W), under a shift in px.

    The landmark must stay the winner, by the argument of `agreement_bound` over all its places,
    and must not cross a multiple of m + 1: (1 - |a| / (m + 1))(1 - |b| / (m + 1)). It takes the
    places of landmarks to be uniform; photographs, with their subject in the middle, do better.
    """
    rows, columns = (n - 2 * cell + 1 for n in size)
    shared = _shared(rows, columns, shift)
    kept = _shared(margin + 1, margin + 1, shift) / (margin + 1) ** 2
    return kept * shared / (2 * rows * columns - shared)


def landmark_response(x: Tensor, size: tuple[int, int], cell: int) -> Tensor:
    """How much of a corner each place is: x (B, C, H, W) -> (B, H - 2 cell + 1, W - 2 cell + 1).

    Magnitude of the checkerboard of 2 x 2 cells, each a sum over cell x cell px and all channels;
    edges along rows or columns cancel. int32, in steps of 1/1024 of the input's unit, magnitudes
    above 256 cut off: a function of the exact pixels under the cells and nothing else.
    """
    steps = torch.clamp(torch.round(x.float() * _STEPS), -_LARGEST, _LARGEST)
    whole = torch.sum(steps.to(torch.int32), 1, dtype=torch.int32)
    return torch.abs(_step_of_cells(_step_of_cells(whole, 1, size[0], cell), 2, size[1], cell))


class CropPosition(nn.Module):
    """Offset (row, column) of the chosen crop, each 0..margin: x (B, C, H, W) -> (B, 2), int64.

    `cell` is the size of the landmark's cells, px: small ones are unique, large ones outlast
    noise, compression and shifts by parts of a pixel.
    """

    def __init__(self, margin: int, cell: int = 4) -> None:
        super().__init__()
        if margin < 1 or cell < 1:
            raise ValueError(f"expected a margin and a cell of 1 or more, got {margin} and {cell}")
        self.margin = margin
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        """Choose, no gradient flows; raises ValueError where the input holds no whole landmark."""
        size = (x.shape[2], x.shape[3])
        if min(size) < 2 * self.cell:
            raise ValueError(f"a {size[0]}x{size[1]} input has no room for cells of {self.cell} px")
        response = landmark_response(x.detach(), size, self.cell)
        columns = size[1] - 2 * self.cell + 1
        flat = torch.argmax(torch.flatten(response, 1), 1)
        place = torch.stack([torch.div(flat, columns, rounding_mode="floor"), flat % columns], 1)
        return place % (self.margin + 1)


class CropSelect(nn.Module):
    """y = module(the crop of x that `CropPosition` chooses), for any model of one input size.

    x is (B, C, H + margin, W + margin) with `window` = (H, W), the size the module was made for.
    Under a real shift of the scene by whole px the module sees identical bits whenever the choice
    keeps to the scene; how often is `agreement_expected`.

    With `dense` the outputs must be maps of the window's size. They are put back to where the crop
    was taken from, (B, C', H + margin, W + margin); outside of it, at most `margin` px on a side,
    the nearest value is repeated. Other sizes, and outputs that are no maps, raise ValueError.

    `roles` says of each output what it is: positions, which are in px, are moved to where the crop
    was taken from, and the others are passed on.
    """

    def __init__(
        self,
        module: nn.Module,
        margin: int,
        window: tuple[int, int],
        *,
        cell: int = 4,
        dense: bool = False,
        roles: Sequence[Role] = (),
    ) -> None:
        super().__init__()
        self.module = module
        self.roles = tuple(roles)
        self.position = CropPosition(margin, cell)
        self.margin = margin
        self.window = window
        self.dense = dense

    def forward(self, x: Tensor) -> Any:
        """(B, C, H + margin, W + margin) -> what the module returns for (B, C, H, W)."""
        size = (x.shape[2], x.shape[3])
        if size != (self.window[0] + self.margin, self.window[1] + self.margin):
            raise ValueError(
                f"the input is {size[0]}x{size[1]}, and a window of {self.window[0]}x"
                f"{self.window[1]} with a margin of {self.margin} needs"
                f" {self.window[0] + self.margin}x{self.window[1] + self.margin}"
            )
        offset = self.position(x)
        rows = torch.arange(self.window[0], device=x.device) + offset[:, :1]
        columns = torch.arange(self.window[1], device=x.device) + offset[:, 1:]
        output = self.module(_gather(x, rows, columns, self.window))
        if self.roles:
            each = [output] if isinstance(output, Tensor) else list(output)
            moved = [
                added(y, offset, role) if isinstance(role, Positions) else y
                for y, role in zip(each, self.roles, strict=True)
            ]
            return moved[0] if isinstance(output, Tensor) else tuple(moved)
        if not self.dense:
            return output
        return change_maps(output, lambda y: self._put_back(y, offset, size))

    def _put_back(self, y: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = self.window
        if (y.shape[2], y.shape[3]) != self.window:
            raise ValueError(
                f"a map of {y.shape[2]}x{y.shape[3]} cannot be put back in place:"
                f" the window is {height}x{width}"
            )
        rows = torch.clamp(torch.arange(size[0], device=y.device) - offset[:, :1], 0, height - 1)
        columns = torch.clamp(torch.arange(size[1], device=y.device) - offset[:, 1:], 0, width - 1)
        return _gather(y, rows, columns, size)


def _gather(x: Tensor, rows: Tensor, columns: Tensor, out: tuple[int, int]) -> Tensor:
    shape = (x.shape[1], x.shape[2], x.shape[3])
    return gather_window(x, rows, columns, shape, out, channels_last=is_nhwc(x))


def _shared(rows: int, columns: int, shift: tuple[int, int]) -> int:
    """How many of rows x columns places are still there after a shift."""
    return max(0, rows - abs(shift[0])) * max(0, columns - abs(shift[1]))


def _step_of_cells(x: Tensor, dim: int, length: int, cell: int) -> Tensor:
    """Sum of a cell less the sum of the cell before it, along an axis of `length`, everywhere."""
    left = length - cell
    step = torch.narrow(x, dim, cell, left) - torch.narrow(x, dim, 0, left)
    places = left - cell + 1
    total = torch.narrow(step, dim, 0, places)
    for k in range(1, cell):
        total = total + torch.narrow(step, dim, k, places)
    return total
