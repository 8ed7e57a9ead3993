"""MASS: model-agnostic shift-equivariant sampling, as a wrapper around any strided operation."""

from __future__ import annotations

from torch import Tensor, nn

from equiaudit.sampling.origin import OriginSelector
from equiaudit.sampling.wrapping import CircularPad2d, Pads, roll_by

__all__ = ["MASS", "MASSUp"]


class MASS(nn.Module):
    """y = op(roll(x, -origin(x))): the original strided operation on an aligned input.

    (MASS, section 4.1.) With o = origin(x), x' = roll(x, D) and o' = origin(x'):
    y' == roll(y, (o + D - o') / stride), exactly. `op` must map a circle of n to one of n/stride:
    give it no padding and pass `padding` = (left, right, top, bottom), applied circularly.
    Branches that meet again must share one origin: take it from `origin` (B, 2) of the first.
    """

    def __init__(
        self, op: nn.Module, stride: int | tuple[int, int], padding: int | Pads = 0
    ) -> None:
        super().__init__()
        self.op = op
        self.select = OriginSelector(stride)
        self.pad = CircularPad2d(padding)

    def forward(self, x: Tensor, origin: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C', H/sh, W/sw); gradients flow through the roll."""
        aligned = roll_by(x, -(self.select(x) if origin is None else origin))
        result: Tensor = self.op(self.pad(aligned))
        return result


class MASSUp(nn.Module):
    """y = roll(up(z), +origin): undoes the alignment of the matching `MASS` (MASS, section 4.4).

    `up` must turn a roll by 1 into a roll by the stride, e.g. nearest or a transposed convolution.
    """

    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.up = up

    def forward(self, z: Tensor, origin: Tensor) -> Tensor:
        """(B, C, h, w) and the origin (B, 2) of the way down -> (B, C', sh*h, sw*w)."""
        return roll_by(self.up(z), origin)
