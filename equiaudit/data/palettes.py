"""Palettes of masks: whether places in them, or the colours that they show, are class ids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from equiaudit.data.mask_files import Stored
from equiaudit.data.places import Place
from equiaudit.errors import InputError

_WHITE = 0xFFFFFF
_TIP = (
    "Name the colours with --classes FILE.csv (columns name,index,colour), or write masks as grey"
    " PNG files of class ids."
)


def palette_of(stored: Stored) -> dict[int, int]:
    """Index -> colour (red << 16 | green << 8 | blue) of those that a mask uses."""
    assert stored.values is not None
    assert stored.colours is not None
    places = stored.values.ravel()
    shown = np.full(256, -1, np.int64)
    shown[places] = stored.colours.ravel()
    return {i: colour for i, colour in enumerate(shown.tolist()) if colour >= 0}


def merged(known: Mapping[int, int], own: Mapping[int, int], path: Place) -> dict[int, int]:
    """Both; InputError where an index has two colours, as of palettes made for each file."""
    for index, colour in own.items():
        other = known.get(index, colour)
        if other != colour:
            raise InputError(
                f"The mask {path} shows index {index} as #{colour:06x} and others show it as"
                f" #{other:06x}, so indices need not be class ids.",
                tip=_TIP,
            )
    return {**known, **own}


def check_palette(
    shown: Mapping[int, int], path: Place, count: int, ignore: int | None, offset: int
) -> None:
    """InputError where grey levels are ids of `count` classes as well as indices, and differ."""
    if any(colour != (colour & 255) * 0x010101 for colour in shown.values()):
        return
    unlike = {i: colour & 255 for i, colour in shown.items() if colour & 255 != i}
    black_white = count == 2 and ignore is None and shown.items() <= {0: 0, 1: _WHITE}.items()
    void = 255 if ignore is None else ignore
    ids = all((c & 255) == void or 0 <= (c & 255) + offset < count for c in shown.values())
    if unlike and ids and not black_white:
        index, level = next(iter(unlike.items()))
        raise InputError(
            f"The mask {path} has a palette that shows index {index} as the grey level {level}, and"
            " either may be the class id.",
            tip=_TIP,
        )
