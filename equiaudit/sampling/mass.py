"""MASS: model-agnostic shift-equivariant sampling, as a wrapper around any strided operation."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from equiaudit.sampling.circles import circular
from equiaudit.sampling.origin import OriginSelector
from equiaudit.sampling.transposed import circular_up
from equiaudit.sampling.wrapping import CircularPad2d, Pads, roll_by


class MASS(nn.Module):
    """y = op(roll(x, -origin(x))): the original strided operation on an aligned input.

    (MASS, section 4.1.) With o = origin(x), x' = roll(x, D) and o' = origin(x'):
    y' == roll(y, (o + D - o') / stride), exactly. `op` must map a circle of n to one of n/stride.
    Paddings inside it become circular, which a UserWarning says (`circles.circular`); give it none
    and pass `padding` = (left, right, top, bottom) to say so yourself. An `op` with a part that has
    no circular form raises ValueError here, one that returns another size on the first call.
    Branches that meet again must share one origin: take it from `origin` (B, 2) of the first.
    """

    def __init__(
        self, op: nn.Module, stride: int | tuple[int, int], padding: int | Pads = 0
    ) -> None:
        super().__init__()
        self.op, changed = circular(op)
        self.select = OriginSelector(stride)
        self.pad = CircularPad2d(padding)
        _say("MASS", changed)

    def forward(self, x: Tensor, origin: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C', H/sh, W/sw); gradients flow through the roll."""
        aligned = roll_by(x, -(self.select(x) if origin is None else origin))
        result: Tensor = self.op(self.pad(aligned))
        sh, sw = self.select.stride
        if (result.shape[2] * sh, result.shape[3] * sw) != (x.shape[2], x.shape[3]):
            raise ValueError(
                f"a map of {x.shape[2]}x{x.shape[3]} at stride {sh}x{sw} should become"
                f" {x.shape[2] // sh}x{x.shape[3] // sw}, and the operation returns"
                f" {result.shape[2]}x{result.shape[3]}: pass padding=, or another stride"
            )
        return result


class MASSUp(nn.Module):
    """y = roll(up(z), +origin): undoes the alignment of the matching `MASS` (MASS, section 4.4).

    `up` must turn a roll by 1 into a roll by the stride: nearest, bilinear and bicubic `Upsample`
    and `ConvTranspose2d` are made to where they look over the border, which a UserWarning says;
    what cannot be raises ValueError. Other modules are taken at their word.
    """

    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.up, changed = circular_up(up)
        _say("MASSUp", changed)

    def forward(self, z: Tensor, origin: Tensor) -> Tensor:
        """(B, C, h, w) and the origin (B, 2) of the way down -> (B, C', sh*h, sw*w)."""
        return roll_by(self.up(z), origin)


def _say(layer: str, changed: tuple[str, ...]) -> None:
    if changed:
        parts = ", ".join(changed)
        warnings.warn(f"{layer} makes the border of {parts} circular", UserWarning, stacklevel=3)
