"""What a kind of shift is.

Every kind is a window that slides over a larger canvas: `draw` fills the canvas of an image, and
moving the content by (dy, dx) is cutting the window at (reach - dy, reach - dx). By whole pixels
a shift costs one copy and no arithmetic; by fractions the canvas is resampled
(`equiaudit.kinds.fractional`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

Slices = tuple[slice, slice]
"""Rows and columns of the window."""
Whole = tuple[int, int]
Offset = tuple[float, float]
"""(dy, dx), px of the window. A whole number of pixels is an int, a fraction a float."""


def around(offset: Offset) -> list[Whole]:
    """The whole offsets that `offset` lies between, the nearest first: 1, 2 or 4.

    Of two as near, the smaller number comes first.
    """
    rows, columns = (sorted({math.floor(o), math.ceil(o)}) for o in offset)
    every = product(rows, columns)
    return sorted(every, key=lambda at: abs(at[0] - offset[0]) + abs(at[1] - offset[1]))


@dataclass(frozen=True)
class Cause:
    """A row of the table of causes: what this kind changes beyond another, at the same offsets."""

    name: str
    beyond: str
    """The kind that has all the others of its causes."""
    remedy: str = ""
    """What to do about it, as a sentence."""


@dataclass(frozen=True)
class Border:
    """Two rows of the table of causes: what moves by whole strides change, and sampling."""

    name: str
    about: str
    """What the first is: "pixels that enter and leave, and padding"."""
    remedy: str = ""
    sampling_remedy: str = ""


def is_between(offset: Offset) -> bool:
    """Whether pixels come to lie between pixels."""
    return any(moved != int(moved) for moved in offset)


class Kind(ABC):
    """One way to move the content of an image."""

    name: ClassVar[str]
    """As `--shifts` and results have it."""
    about: ClassVar[str]
    """What it does, behind its name: "rolls the image, so that nothing enters or leaves"."""
    role: ClassVar[str] = ""
    """What its findings speak of: "what a camera does", or a probe of what."""
    usual: ClassVar[bool] = False
    """A scan runs it where no kinds are named."""
    real: ClassVar[bool] = False
    """Real pixels enter, so the image must reach beyond the window as far as a shift goes."""
    whole: ClassVar[bool] = False
    """All that the unshifted window shows is in the shifted one too."""
    fractional: ClassVar[bool] = False
    """Offsets may be fractions of a pixel."""
    cause: ClassVar[Cause | None] = None
    border: ClassVar[Border | None] = None

    @abstractmethod
    def draw(self, canvas: Tensor, source: Tensor, window: tuple[int, int], black: Tensor) -> None:
        """Fill `canvas`, (C, H + 2 reach, W + 2 reach), in place.

        `source` (C, h, w) holds the H x W window in its middle, with real pixels around it where
        they were loaded. `black` is (C,), a black pixel as the model receives it.
        """

    def cut(self, canvas: Tensor, window: tuple[int, int], reach: int, offset: Offset) -> Tensor:
        """(C, H, W): the window whose content moved by `offset`; a view where nothing is made."""
        top, left = (reach - int(moved) for moved in offset)
        return canvas[:, top : top + window[0], left : left + window[1]]

    def common(self, window: tuple[int, int], offset: Offset) -> Slices:
        """Where the unshifted window shows what the shifted one shows too.

        Of a fraction, the pixels that come to lie between pixels of the shifted window.
        """
        if self.whole:
            return slice(None), slice(None)
        rows, columns = (
            slice(max(0, -math.floor(shift)), min(side, side - math.ceil(shift)))
            for side, shift in zip(window, offset, strict=True)
        )
        return rows, columns

    def back(self, shifted: Tensor, offset: Whole, common: Slices) -> Tensor:
        """The part `common` of the unshifted frame, of a map (..., H, W) of the shifted window."""
        dy, dx = offset
        if self.whole:
            rolled: Tensor = shifted.roll((-dy, -dx), (-2, -1))
            return rolled
        rows, columns = (
            slice(part.start + shift, part.stop + shift)
            for part, shift in zip(common, offset, strict=True)
        )
        return shifted[..., rows, columns]
