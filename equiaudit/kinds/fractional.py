"""Kinds that move by fractions of a pixel: the window is made of the canvas by a resampler.

Whole moves go the same way and come out to the last bit as those of `crop` and `circular` do:
every resampler leaves a pixel that lands on a pixel as it is, the unshifted window included.
Values are neither clipped nor rounded, unless the model takes bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from equiaudit.kinds.base import Kind, Offset
from equiaudit.kinds.builtin import Circular, Crop

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLERS = ("lanczos", "fourier", "bilinear")
"""The default first."""
FRACTION, FINEST = 4, 16
"""Steps to a pixel: the default, and the most."""
_RIM: dict[str, int | None] = {"lanczos": 3, "fourier": None, "bilinear": 1}


class Resampled(Kind):
    """What kinds have in common that move by fractions."""

    fractional = True

    @abstractmethod
    def carry(self, output: Tensor, offset: Offset) -> Tensor:
        """A map (..., H, W) of the unshifted window, moved as its input is.

        Not its inverse: undoing a move by resampling again would smooth twice.
        """

    @property
    @abstractmethod
    def rim(self) -> int | None:
        """Pixels along the border that `carry` makes of what lies beyond; None for all."""


@dataclass(frozen=True)
class SubPixel(Resampled, Crop):
    """Crop shifts by fractions; beyond the pixels that shifts reach, the image is mirrored."""

    resampler: str = RESAMPLERS[0]

    name = "subpixel"
    about = "cuts the window at a fractional place of a larger image, by a resampler"
    usual = False
    border = None

    def by(self, resampler: str) -> SubPixel:
        """The same by another of `RESAMPLERS`."""
        return SubPixel(resampler)

    def cut(self, canvas: Tensor, window: tuple[int, int], reach: int, offset: Offset) -> Tensor:
        """Resampled along columns and rows in turn."""
        from equiaudit.kinds.resampling import resampled

        start = (reach - offset[0], reach - offset[1])
        return resampled(canvas, start, window, self.resampler, torus=False)

    def carry(self, output: Tensor, offset: Offset) -> Tensor:
        """By the same resampler."""
        from equiaudit.kinds.resampling import resampled

        height, width = output.shape[-2:]
        start = (-offset[0], -offset[1])
        return resampled(output, start, (height, width), self.resampler, torus=False)

    @property
    def rim(self) -> int | None:
        """As far as the resampler takes its pixels from; fourier takes a whole row."""
        return _RIM[self.resampler]


class Fractional(Resampled, Circular):
    """Circular shifts by phase in the Fourier domain: what no band-limited image loses."""

    name = "fractional"
    about = "rolls the image by fractions of a pixel, by phase in the Fourier domain"
    usual = False
    border = None
    rim = 0

    def cut(self, canvas: Tensor, window: tuple[int, int], reach: int, offset: Offset) -> Tensor:
        """Of the torus alone."""
        from equiaudit.kinds.pixels import middle

        return self.carry(middle(canvas, *window), offset)

    def carry(self, output: Tensor, offset: Offset) -> Tensor:
        """Around the edges."""
        from equiaudit.kinds.resampling import resampled

        height, width = output.shape[-2:]
        start = (-offset[0], -offset[1])
        return resampled(output, start, (height, width), "fourier", torus=True)


SUBPIXEL, FRACTIONAL = SubPixel(), Fractional()
