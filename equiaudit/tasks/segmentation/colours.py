"""Colours of classes, for pictures and legends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equiaudit.data import IGNORED, ClassTable

Bytes = NDArray[np.uint8]

IGNORED_COLOUR = (224, 224, 192)


def palette(classes: int, table: ClassTable) -> Bytes:
    """(C, 3) colours: those of the table, else those of the VOC data sets."""
    colours = np.array([_voc_colour(i) for i in range(classes)], np.uint8)
    for colour, index in reversed([*table.colours.items()]):
        if index < classes:
            colours[index] = colour
    return colours


def _voc_colour(index: int) -> tuple[int, int, int]:
    """Bits 0, 1, 2 of the index are the top bits of red, green, blue; the next three follow."""
    colour = [0, 0, 0]
    for level in range(8):
        for channel in range(3):
            colour[channel] |= (index >> (3 * level + channel) & 1) << (7 - level)
    return colour[0], colour[1], colour[2]


def painted(labels: NDArray[np.generic], colours: Bytes) -> Bytes:
    """(H, W) class ids -> (H, W, 3); ignored pixels have a colour of their own."""
    with_ignored = np.concatenate([colours, np.array([IGNORED_COLOUR], np.uint8)])
    ids = labels.astype(np.int64)
    return with_ignored[np.where(ids == IGNORED, len(colours), ids)]
