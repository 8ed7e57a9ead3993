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

With votes the landmark anchors a lattice of pitch p, k x k of whose crops lie within the margin,
and the outputs are averaged. Where the choice does not go along, one column or row of the k enters
at one side and another leaves, k p px further: the other votes stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiaudit.sampling.dense_outputs import change_maps, change_tensors
from equiaudit.sampling.positions import Positions, Role, added
from equiaudit.sampling.wrapping import gather_window, is_nhwc

_STEPS = 1024.0
_LARGEST = 2.0**18
_CELL, _LARGE = 8, 128


def agreement_bound(margin: int, shift: tuple[int, int]) -> float:
    """P(same crop) of RICS under a shift (rows, columns), in px, for exchangeable responses.

    The winner of both candidate sets together must lie in what they share: I / (2 (m + 1)^2 - I)
    with I = (m + 1 - |a|)(m + 1 - |b|), or 0 where they share nothing.
    """
    shared = _shared(margin + 1, margin + 1, shift)
    return shared / (2 * (margin + 1) ** 2 - shared)


def votes_bound(margin: int, shift: tuple[int, int]) -> float:
    """The share of its crops that any rule of any number of votes keeps at most, in the mean.

    A crop lies within (m + 1 - |a|)(m + 1 - |b|) of the (m + 1)^2 places of both views, and is kept
    in no other: (1 - |a| / (m + 1))(1 - |b| / (m + 1)).
    """
    return _shared(margin + 1, margin + 1, shift) / (margin + 1) ** 2


def agreement_expected(
    margin: int,
    shift: tuple[int, int],
    size: tuple[int, int],
    cell: int | None = None,
    votes: int = 1,
) -> float:
    """P(same crop) of `CropSelect` on an input of `size` (H, W), under a shift in px; the share of
    the votes that are the same crop, where there are several.

    The landmark must stay the winner, by the argument of `agreement_bound` over all its places,
    and a crop must not leave the n = k p px that the lattice takes of the m + 1:
    (1 - |a| / n)(1 - |b| / n). It takes the places of landmarks to be uniform; photographs, with
    their subject in the middle, do better.
    """
    side = votes_side(votes)
    span = (margin + 1) // side * side
    cell = cell or landmark_cell(size)
    rows, columns = (n - 2 * cell - 1 for n in size)
    shared = _shared(rows, columns, shift)
    kept = _shared(span, span, shift) / span**2
    return kept * shared / (2 * rows * columns - shared)


def votes_side(votes: int) -> int:
    """k of k x k crops; ValueError for a number that is no square."""
    side = isqrt(max(votes, 0))
    if side < 1 or side**2 != votes:
        raise ValueError(f"expected 1, 4, 9, 16 or another square of votes, got {votes}")
    return side


def landmark_cell(size: tuple[int, int]) -> int:
    """The side of a landmark's cells, px, for an input of `size` (H, W): 8, on small ones 4.

    Large cells outlast compression, small ones leave more places; measured by
    ``benchmarks/landmarks.py``.
    """
    return _CELL if min(size) >= _LARGE else _CELL // 2


def landmark_response(x: Tensor, size: tuple[int, int], cell: int) -> Tensor:
    """How much of a corner each place is: x (B, C, H, W) -> (B, H - 2 cell + 1, W - 2 cell + 1).

    Magnitude of the checkerboard of 2 x 2 cells, each a sum over cell x cell px and all channels;
    edges along rows or columns cancel. int32, in steps of 1/1024 of the input's unit, magnitudes
    above 256 cut off: a function of the exact pixels under the cells and nothing else.
    """
    steps = torch.clamp(torch.round(x.float() * _STEPS), -_LARGEST, _LARGEST)
    whole = torch.sum(steps.to(torch.int32), 1, dtype=torch.int32)
    return torch.abs(_step_of_cells(_step_of_cells(whole, 1, size[0], cell), 2, size[1], cell))


def landmark_peaks(response: Tensor, size: tuple[int, int]) -> Tensor:
    """`response` (B, h + 2, w + 2) without its rim, `size` = (h, w), and -1 where a neighbour is
    larger: at the rim the largest value may be the slope of a peak outside, which moves with it.
    """
    height, width = size
    rows = torch.maximum(torch.narrow(response, 1, 0, height), torch.narrow(response, 1, 2, height))
    middle = torch.narrow(response, 1, 1, height)
    rows = torch.maximum(rows, middle)
    around = torch.maximum(torch.narrow(rows, 2, 0, width), torch.narrow(rows, 2, 1, width))
    around = torch.maximum(around, torch.narrow(rows, 2, 2, width))
    inner = torch.narrow(middle, 2, 1, width)
    return torch.where(inner == around, inner, -1)


class CropPosition(nn.Module):
    """Offset (row, column) of the chosen crop, each 0..margin: x (B, C, H, W) -> (B, 2), int64.

    With `votes` = k^2 it is that of the first of k x k crops, `pitch` px apart. `cell` is the size
    of the landmark's cells, px; None: `landmark_cell` of the input.
    """

    def __init__(self, margin: int, cell: int | None = None, votes: int = 1) -> None:
        super().__init__()
        if margin < 1 or (cell is not None and cell < 1):
            raise ValueError(
                f"expected a margin and cells of 1 px or more, got {margin} and {cell}"
            )
        self.margin = margin
        self.cell = cell
        self.side = votes_side(votes)
        self.pitch = (margin + 1) // self.side
        if self.pitch < 1:
            raise ValueError(f"{votes} votes need a margin of {self.side - 1} px, got {margin}")
        self.first = (margin + 1 - self.pitch * self.side) // 2  # the lattice in the middle

    def forward(self, x: Tensor) -> Tensor:
        """Choose, no gradient flows; raises ValueError where the input holds no whole landmark."""
        size = (x.shape[2], x.shape[3])
        cell = self.cell or landmark_cell(size)
        if min(size) < 2 * cell + 2:
            raise ValueError(f"a {size[0]}x{size[1]} input has no room for cells of {cell} px")
        rows, columns = size[0] - 2 * cell - 1, size[1] - 2 * cell - 1
        response = landmark_peaks(landmark_response(x.detach(), size, cell), (rows, columns))
        flat = torch.argmax(torch.flatten(response, 1), 1)
        place = torch.stack([torch.div(flat, columns, rounding_mode="floor"), flat % columns], 1)
        return place % self.pitch + self.first


class CropSelect(nn.Module):
    """y = module(the crop of x that `CropPosition` chooses), for any model of one input size.

    x is (B, C, H + margin, W + margin) with `window` = (H, W), the size the module was made for.
    Under a real shift of the scene by whole px the module sees identical bits whenever the choice
    keeps to the scene; how often is `agreement_expected`.

    With `votes` = k^2 the module sees k x k crops of each image, all in one batch, and every
    output, which must be of real numbers and have a row per image, is their mean.

    With `dense` the outputs must be maps of the window's size. They are put back to where the crop
    was taken from, (B, C', H + margin, W + margin), and where crops overlap, their mean is; outside
    of all, at most `margin` px on a side, the nearest value is repeated. Other sizes, and outputs
    that are no maps, raise ValueError.

    `roles` says of each output what it is: positions, which are in px, are moved to where the crop
    was taken from, and the others are passed on; votes have no place there.
    """

    def __init__(
        self,
        module: nn.Module,
        margin: int,
        window: tuple[int, int],
        *,
        cell: int | None = None,
        dense: bool = False,
        votes: int = 1,
        roles: Sequence[Role] = (),
    ) -> None:
        super().__init__()
        if roles and votes > 1:
            raise ValueError("positions of several crops have no mean")
        self.module = module
        self.roles = tuple(roles)
        self.position = CropPosition(margin, cell, votes)
        self.margin = margin
        self.window = window
        self.dense = dense
        self.votes = votes
        steps = [self.position.pitch * i for i in range(self.position.side)]
        self._corners = [(top, left) for top in steps for left in steps]
        """Of each crop, in what all crops of an image cover."""
        self._all = (window[0] + steps[-1], window[1] + steps[-1])
        """Sides of that, px."""

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
        height, width = self._all
        rows = torch.arange(height, device=x.device) + offset[:, :1]
        columns = torch.arange(width, device=x.device) + offset[:, 1:]
        output = self.module(self._crops(_gather(x, rows, columns, self._all)))
        if self.roles:
            each = [output] if isinstance(output, Tensor) else list(output)
            moved = [
                added(y, offset, role) if isinstance(role, Positions) else y
                for y, role in zip(each, self.roles, strict=True)
            ]
            return moved[0] if isinstance(output, Tensor) else tuple(moved)
        if self.dense:
            return change_maps(output, lambda y: self._put_back(y, offset, size))
        return output if self.votes == 1 else change_tensors(output, self._mean)

    def _crops(self, x: Tensor) -> Tensor:
        """(B, C, *_all) -> (B k^2, C, H, W), the crops of an image one after the other."""
        if self.votes == 1:
            return x
        height, width = self.window
        crops = [
            torch.narrow(torch.narrow(x, 2, top, height), 3, left, width)
            for top, left in self._corners
        ]
        return torch.flatten(torch.stack(crops, 1), 0, 1)

    def _by_crop(self, y: Tensor) -> list[Tensor]:
        """(B k^2, ...) -> (B, ...) of each crop."""
        if not y.is_floating_point() or y.dim() < 1:
            raise ValueError(f"votes are averaged, and an output is {y.dim()}-D of {y.dtype}")
        return list(torch.unbind(y.reshape(-1, self.votes, *y.shape[1:]), 1))

    def _mean(self, y: Tensor) -> Tensor:
        parts = self._by_crop(y)
        total = parts[0]
        for part in parts[1:]:  # in the order of the crops, so that bits repeat
            total = total + part
        return total / self.votes

    def _put_back(self, y: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = self.window
        if (y.shape[2], y.shape[3]) != self.window:
            raise ValueError(
                f"a map of {y.shape[2]}x{y.shape[3]} cannot be put back in place:"
                f" the window is {height}x{width}"
            )
        whole = y if self.votes == 1 else self._overlaid(y)
        height, width = self._all
        rows = torch.clamp(torch.arange(size[0], device=y.device) - offset[:, :1], 0, height - 1)
        columns = torch.clamp(torch.arange(size[1], device=y.device) - offset[:, 1:], 0, width - 1)
        return _gather(whole, rows, columns, size)

    def _overlaid(self, y: Tensor) -> Tensor:
        """(B k^2, C', H, W) -> (B, C', *_all), the mean of the crops at each place."""
        (height, width), (whole_height, whole_width) = self.window, self._all
        total: Tensor | float = 0.0
        count: Tensor | float = 0.0
        for part, (top, left) in zip(self._by_crop(y), self._corners, strict=True):
            around = [left, whole_width - width - left, top, whole_height - height - top]
            total = F.pad(part, around) + total
            count = F.pad(torch.ones_like(part[:1, :1]), around) + count
        return torch.div(total, count)  # type: ignore[arg-type]


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
    return _sum_of(step, dim, left, cell)


def _sum_of(x: Tensor, dim: int, length: int, count: int) -> Tensor:
    """Sums of `count` neighbours along an axis of `length`, by doubling: 8 take 3 additions."""
    if count == 1:
        return x
    half = count // 2
    sums, places = _sum_of(x, dim, length, half), length - count + 1
    total = torch.narrow(sums, dim, 0, places) + torch.narrow(sums, dim, half, places)
    return total + torch.narrow(x, dim, count - 1, places) if count % 2 else total
