"""Kinds of shift: how pixels move, how outputs move back, and how one speaks of it.

    circular   the image is rolled, so that nothing enters or leaves
    crop       the window slides over a larger image, so that real pixels enter
    zero-pad   the content moves over black
    subpixel   crop, by fractions of a pixel
    fractional circular, by fractions of a pixel

A kind is one value, and the registry names it. Torch is imported when pixels move, not before.
"""

from equiaudit.kinds.base import Border, Cause, Kind, Offset, Slices, Whole, around, is_between
from equiaudit.kinds.builtin import CIRCULAR
from equiaudit.kinds.fractional import FINEST, FRACTION, RESAMPLERS, Resampled, SubPixel
from equiaudit.kinds.registry import KINDS, is_real, register, usual

__all__ = [
    "CIRCULAR",
    "FINEST",
    "FRACTION",
    "KINDS",
    "RESAMPLERS",
    "Border",
    "Cause",
    "Kind",
    "Offset",
    "Resampled",
    "Slices",
    "SubPixel",
    "Whole",
    "around",
    "is_between",
    "is_real",
    "register",
    "usual",
]
