"""What is known to be right of every pixel: the masks and targets beside the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from equiaudit.data.decoding import Geometry
    from equiaudit.data.items import Item

__all__ = ["Truth", "TruthReader", "UnreadableTruth"]


@dataclass(frozen=True, eq=False)
class Truth:
    """One mask or target, cut as the image is.

    `values` is (h, w) int16 class ids, -1 where nothing is to be said, or (h, w, 3 or 1)
    uint8 or uint16 pixels of a target. `sha256` is of the file's bytes.
    """

    values: NDArray[np.generic]
    sha256: str


class UnreadableTruth(Exception):
    """The file is damaged or gone; the message is the reason."""


class TruthReader(Protocol):
    """Reads the mask or target of an image."""

    def read(self, item: Item, geometry: Geometry, size: tuple[int, int]) -> Truth:
        """The truth of `item`, whose upright image has `size` (H, W) px before any resizing.

        Raises InputError, naming the file, for a truth that does not fit image or model, and
        UnreadableTruth for a file that cannot be read.
        """

    def check(self, item: Item, size: tuple[int, int]) -> None:
        """Raise as `read` would of sizes, from the file's header alone; other faults pass."""
