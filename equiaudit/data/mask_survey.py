"""What the values of masks mean, told by many masks together before the first is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from equiaudit.data.mask_files import Stored, read_stored
from equiaudit.data.mask_values import VOID, fits_colours
from equiaudit.data.masks import MaskReader
from equiaudit.data.palettes import check_palette, merged, palette_of
from equiaudit.data.places import Place
from equiaudit.data.truth import UnreadableTruth
from equiaudit.errors import InputError

_ENOUGH = 32
"""Masks that are looked at, and on until one holds something."""
_MOST_PIXELS = 89_478_485
_SPREAD = 2_654_435_761


@dataclass
class _Seen:
    masks: int = 0
    values: set[int] = field(default_factory=set)
    palettes: list[tuple[Place, dict[int, int]]] = field(default_factory=list)
    coloured: list[bool] = field(default_factory=list)
    """Whether the table names all colours, of each palette seen."""
    highest: int | None = None
    first: Place | None = None
    """A mask that holds something."""


def settled(reader: MaskReader, masks: Sequence[Place]) -> tuple[MaskReader, tuple[str, ...]]:
    """`reader`, told what 255, 0 and palettes mean in all of `masks`, and that in words.

    InputError where that has two readings, with the flags that choose one.
    """
    _check_zero(reader)
    if reader.drawn is not None or not masks:
        return reader, ()
    seen = _look(reader, masks)
    if reader.threshold is not None:
        _check_threshold(reader, seen)
        return reader, (f"Mask values from {reader.threshold} on are class 1, others class 0.",)
    reader = replace(reader, by_colour=all(seen.coloured) if seen.coloured else None)
    if reader.by_colour:
        return reader, ("The colours of palettes name the classes, not their indices.",)
    if reader.renumbered:
        return reader, ("Mask values are renumbered as the layout says; others are left out.",)
    reader = replace(reader, palette=_palette(reader, seen))
    _check_first(reader, seen)
    reader = replace(reader, white=_white(reader, seen))
    return reader, tuple(_said(reader, seen))


def _said(reader: MaskReader, seen: _Seen) -> Iterator[str]:
    if reader.white == "class":
        yield "Masks hold 0 and 255, and 255 is class 1."
    elif reader.ignore is not None or VOID in seen.values:
        yield f"Mask value {VOID if reader.ignore is None else reader.ignore} is left out."
    if reader.offset:
        yield f"{reader.offset:+d} is added to mask values."


def _look(reader: MaskReader, masks: Sequence[Place]) -> _Seen:
    seen = _Seen()
    for path in sorted(range(len(masks)), key=lambda i: i * _SPREAD % 2**32):
        try:
            stored = read_stored(masks[path], _MOST_PIXELS)
        except UnreadableTruth:
            continue  # Its image is left out and listed when its turn comes.
        _add(seen, stored, masks[path], reader)
        if seen.masks >= _ENOUGH and seen.highest:
            break
    return seen


def _add(seen: _Seen, stored: Stored, path: Place, reader: MaskReader) -> None:
    seen.masks += 1
    values = stored.values
    if values is None:
        return
    if reader.table.colours and stored.indexed:
        seen.coloured.append(fits_colours(stored, reader.table))
    if stored.indexed:
        seen.palettes.append((path, palette_of(stored)))
    top = VOID * int(values.max()) if stored.bits else int(values.max())
    seen.highest = max(seen.highest or 0, top)
    if values.dtype.kind != "f" and not stored.lossy:
        seen.values |= set(np.unique(values).tolist())
    if top and seen.first is None:
        seen.first = path


def _palette(reader: MaskReader, seen: _Seen) -> tuple[tuple[int, int], ...]:
    shown: dict[int, int] = {}
    for path, own in seen.palettes:
        shown = merged(shown, own, path)
    if shown:
        path, offset = seen.palettes[0][0], reader.offset or 0
        check_palette(shown, path, reader.num_classes, reader.ignore, offset)
    return tuple(shown.items())


def _check_zero(reader: MaskReader) -> None:
    if reader.ignore == 0 and reader.offset is None and reader.threshold is None:
        raise InputError(
            "With --ignore-index 0, ids from 1 on may be the model's classes from 1 on, or from 0"
            " on, and which cannot be told.",
            tip="Add --mask-offset -1 where id 1 is the model's class 0 (as in ADE20K), or"
            " --mask-offset 0 where it is class 1.",
        )


def _check_threshold(reader: MaskReader, seen: _Seen) -> None:
    if seen.highest and reader.threshold is not None and seen.highest < reader.threshold:
        raise InputError(
            f"No mask looked at reaches {reader.threshold}: the highest value is {seen.highest}"
            f" ({seen.first}).",
            tip="Give a lower --mask-threshold, or leave it out where masks hold class ids.",
        )


def _check_first(reader: MaskReader, seen: _Seen) -> None:
    """Ids that may begin at 1."""
    void = {VOID} if reader.ignore is None else {reader.ignore}
    ids = seen.values - void
    if reader.offset is None and ids and min(ids) > 0 and max(ids) < reader.num_classes:
        raise InputError(
            f"None of the {seen.masks} masks looked at holds class 0 ({seen.first} and others hold"
            f" {min(ids)} to {max(ids)}), so ids may begin at 1.",
            tip="Give --mask-offset -1 where id 1 is the model's class 0, or --mask-offset 0 where"
            " it is class 1.",
        )


def _white(reader: MaskReader, seen: _Seen) -> Literal["class", "ignore"] | None:
    """What 255 means."""
    if reader.ignore is not None:
        return None
    if seen.values - {0, VOID}:
        return "ignore" if 1 in seen.values or reader.num_classes > 2 else None
    if VOID not in seen.values:
        return None
    if reader.num_classes == 2:
        return "class"
    raise InputError(
        f"Masks hold 0 and 255 alone ({seen.first}), and the model has {reader.num_classes}"
        " classes, so 255 may be a class or say nothing.",
        tip="Give --ignore-index 255 if it is to be left out, or --mask-threshold 128 if it is"
        " class 1.",
    )
