"""What a layout says about the values of its masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.class_table import ClassTable


class Drawings(Protocol):
    """Masks that are drawn from a table: runs or polygons."""

    @property
    def sha256(self) -> str:
        """Of what they are drawn from; equal drawings are equal in it."""

    def draw(self, name: str, size: tuple[int, int]) -> NDArray[np.int32]:
        """The class ids (H, W) of the image called `name`, which has `size` (H, W) px.

        Raises InputError where the table speaks of another size, ValueError where it is damaged.
        """


@dataclass(frozen=True)
class MaskRule:
    """How the stored values become class ids, where no flag says otherwise."""

    ignore: int | None = None
    """The stored value that says nothing."""
    offset: int | None = None
    """What is added to a stored value."""
    threshold: int | None = None
    """From which stored value on a pixel is of class 1; all below are of class 0."""
    renumbered: tuple[tuple[int, int], ...] = ()
    """(stored value, class id); others say nothing."""
    table: ClassTable = field(default_factory=ClassTable)
    """Colours and names of the classes."""
    drawn: Drawings | None = field(default=None, repr=False)
    """In place of files."""


NO_RULE = MaskRule()
