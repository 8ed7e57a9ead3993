"""What is known to be right of every pixel: the masks and targets beside the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.geometry import Geometry
from equiaudit.data.items import Item


@dataclass(frozen=True, eq=False)
class Truth:
    """One mask or target, cut as the image is.

    `values` is (h, w) int16 class ids, -1 where nothing is to be said, or (h, w, 3 or 1)
    uint8 or uint16 pixels of a target; of several labels (classes,), of boxes the rows of
    `objects.Marked` in px of the window. `sha256` is of the file's bytes, or of those numbers.
    """

    values: NDArray[np.generic]
    sha256: str
    notes: tuple[str, ...] = ()
    """How it was made to fit."""


@dataclass(frozen=True)
class Frame:
    """The image that a truth belongs to, upright and before any resizing."""

    size: tuple[int, int]
    """(H, W), px."""
    orientation: int = 1
    """EXIF's: how the stored pixels were turned to stand upright."""

    @property
    def stored(self) -> tuple[int, int]:
        """(H, W) of the pixels as the file stores them."""
        return self.size[::-1] if self.orientation >= 5 else self.size


class UnreadableTruth(Exception):
    """The file is damaged or gone; the message is the reason."""


class TruthReader(Protocol):
    """Reads the mask or target of an image."""

    def read(self, item: Item, geometry: Geometry, frame: Frame) -> Truth:
        """The truth of `item`, whose image is `frame`.

        Raises InputError, naming the file, for a truth that does not fit image or model, and
        UnreadableTruth for a file that cannot be read.
        """

    def check(self, item: Item, frame: Frame) -> None:
        """Raise as `read` would of sizes, from the file's header alone; other faults pass."""
