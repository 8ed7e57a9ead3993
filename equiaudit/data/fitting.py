"""Masks and targets laid over their images: the same way up, and of the same size."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiaudit.data.places import Place
from equiaudit.data.truth import Frame
from equiaudit.errors import InputError

Lying = Literal["stored", "upright"]
"""Whether a mask lies as the pixels that the image's file stores, or as they are shown."""
A = TypeVar("A", bound=np.generic)

_TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
    Image.Transpose.ROTATE_180: lambda a: a[::-1, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda a: a[::-1],
    Image.Transpose.TRANSPOSE: lambda a: a.swapaxes(0, 1),
    Image.Transpose.ROTATE_270: lambda a: np.rot90(a, -1),
    Image.Transpose.TRANSVERSE: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    Image.Transpose.ROTATE_90: lambda a: np.rot90(a, 1),
}


def times_smaller(size: tuple[int, int], whole: tuple[int, int]) -> int | None:
    """How many times `size` (H, W) goes into `whole` along both axes; None where it does not."""
    rows, columns = whole[0] / size[0], whole[1] / size[1]
    return int(rows) if rows == columns and rows == int(rows) else None


def lies(
    what: str, path: Place, size: tuple[int, int], own: int, frame: Frame, asked: Lying | None
) -> Lying:
    """How a mask of stored `size` (H, W) lies, whose own EXIF orientation is `own`.

    InputError where it has neither the size of its image nor goes into it a whole number of
    times, and where the image has an EXIF orientation and both readings fit.
    """
    if own != 1:
        size = size[::-1] if own >= 5 else size
    upright = times_smaller(size, frame.size) is not None
    stored = own == 1 and times_smaller(size, frame.stored) is not None
    if not upright and not (stored and frame.orientation != 1):
        raise InputError(
            f"The {what} {path} is {size[0]}x{size[1]} px (height x width), and its image is "
            f"{frame.size[0]}x{frame.size[1]}.",
            tip=f"A {what} has the size of its image, or a whole fraction of it.",
        )
    if frame.orientation == 1 or own != 1:
        return "upright"
    if upright and stored:
        if asked is not None:
            return asked
        raise InputError(
            f"The image of the {what} {path} is turned by its EXIF orientation"
            f" ({frame.orientation}), and whether the {what} is turned already cannot be told.",
            tip=f"--mask-orientation stored turns each {what} as its image, --mask-orientation"
            " upright leaves it.",
        )
    return "upright" if upright else "stored"


def fitted(
    values: NDArray[A], lying: Lying, own: int, frame: Frame, what: str
) -> tuple[NDArray[A], tuple[str, ...]]:
    """(H, W, ...) of the image, and what was done."""
    notes: tuple[str, ...] = ()
    if own != 1:
        values = _turned(values, own)
    elif lying == "stored" and frame.orientation != 1:
        values = _turned(values, frame.orientation)
        notes = (f"the {what} was turned as its image, by the image's EXIF orientation",)
    elif frame.orientation != 1:
        notes = (f"the {what} stands upright, as its image after its EXIF orientation",)
    times = times_smaller((values.shape[0], values.shape[1]), frame.size) or 1
    if times > 1:
        values = values.repeat(times, axis=0).repeat(times, axis=1)
        notes += (f"the {what} is {times} times smaller than its image and was enlarged",)
    return values, notes


def _turned(values: NDArray[A], orientation: int) -> NDArray[A]:
    from equiaudit.data.decoding import turn_of

    turn = turn_of(orientation)
    return values if turn is None else _TURNS[turn](values)
