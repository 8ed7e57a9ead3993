"""Masks written as runs of pixels, as Kaggle and COCO write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def filled_column_runs(text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of "start length start length ...": starts count from 1, column by column.

    ValueError for runs that do not fit into `size` (H, W).
    """
    numbers = np.array([int(part) for part in text.split()], np.int64)
    if len(numbers) % 2:
        raise ValueError("a run has a start and no length")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    total = size[0] * size[1]
    if len(numbers) and (starts.min() < 0 or lengths.min() < 0 or (starts + lengths).max() > total):
        raise ValueError(f"a run lies outside {size[0]}x{size[1]} px")
    flat = np.zeros(total, np.bool_)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        flat[start : start + length] = True
    return flat.reshape(size, order="F")


def filled_counts(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of COCO's counts: pixels column by column, off and on in turns, off first.

    ValueError where they do not add up to `size` (H, W).
    """
    lengths = np.array(counts, np.int64)
    if (len(lengths) and lengths.min() < 0) or int(lengths.sum()) != size[0] * size[1]:
        raise ValueError(f"the counts of a run do not add up to {size[0]}x{size[1]} px")
    states = np.arange(len(lengths)) % 2 == 1
    return np.repeat(states, lengths).reshape(size, order="F")


def counts_of_text(text: str) -> list[int]:
    """The counts in COCO's compressed text: 5 bits a character, from the third on as differences.

    See rleFrString in cocoapi/common/maskApi.c. ValueError for other text.
    """
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, bits, more = 0, 0, True
        while more:
            if place == len(text) or bits > 60:
                raise ValueError("the text of a run ends in the middle")
            part = ord(text[place]) - 48
            if not 0 <= part < 64:
                raise ValueError("a run holds a character that none has")
            value |= (part & 31) << bits
            more, place, bits = bool(part & 32), place + 1, bits + 5
            if not more and part & 16:
                value |= -1 << bits
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    return counts
