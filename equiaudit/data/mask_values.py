"""From what a mask's file holds to class ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.class_table import ClassTable
from equiaudit.data.fitting import Lying
from equiaudit.data.mask_files import Stored
from equiaudit.data.palettes import check_palette, merged, palette_of
from equiaudit.data.places import Place
from equiaudit.errors import InputError

Ids = NDArray[np.int32]
Flags = NDArray[np.bool_]

IGNORED = -1
"""The class id of pixels of which nothing is said."""
VOID = 255
_WHITE = 0xFFFFFF


@dataclass(frozen=True)
class Meaning:
    """What the values that masks store mean, as class ids below `num_classes`.

    Palette, grey, 1-bit, 16-bit and signed files and NumPy arrays hold the ids themselves;
    colour files need the colours of `table`. `ignore` is the stored value that says nothing.
    Where it is None, that is 255, except that of a model with two classes a mask of 0 and 255
    alone means 0 and 1.
    """

    num_classes: int
    ignore: int | None = None
    table: ClassTable = field(default_factory=ClassTable)
    offset: int | None = None
    """What is added to a stored value; None is 0 that nobody has stated."""
    threshold: int | None = None
    """Stored values from here on are class 1, others class 0."""
    lying: Lying | None = None
    """How masks lie of images with an EXIF orientation; None where their sizes have to tell."""
    renumbered: tuple[tuple[int, int], ...] = ()
    """(stored value, id); others say nothing."""
    white: Literal["class", "ignore"] | None = None
    """What 255 means in all masks; None where each has to tell."""
    palette: tuple[tuple[int, int], ...] = ()
    """(index, colour) of palettes seen so far, which others must not contradict."""
    by_colour: bool | None = None
    """Whether palettes and grey levels are looked up in `table`; None where each has to tell."""


def ids_of(stored: Stored, path: Place, how: Meaning) -> Ids:
    """(H, W) ids below the model's number of classes, `IGNORED` where nothing is said.

    InputError, naming the file, for values that are no class or have two readings.
    """
    if how.threshold is not None:
        return _thresholded(stored, path, how.threshold, how.ignore)
    if _by_colours(stored, path, how):
        assert stored.colours is not None or stored.values is not None
        ids = _ids_of_colours(path, _colours(stored), how.table)
        void = ids == (VOID if how.ignore is None else how.ignore)
        return _checked(ids, ids, void, path, how)
    values = _plain(stored, path)
    if how.renumbered:
        return _checked(values, *_renumbered(values, how), path, how)
    if stored.indexed:
        shown = merged(dict(how.palette), palette_of(stored), path)
        check_palette(shown, path, how.num_classes, how.ignore, how.offset or 0)
    values, void = _void(values, stored, path, how)
    return _checked(values, values + (how.offset or 0), void, path, how)


def _thresholded(stored: Stored, path: Place, threshold: int, ignore: int | None) -> Ids:
    if stored.values is None:
        raise InputError(
            f"The mask {path} is in colours, and --mask-threshold is of grey levels.",
            tip="Name the colours with --classes FILE.csv, and leave --mask-threshold out.",
        )
    values = stored.values * VOID if stored.bits else stored.values
    above: Flags = values >= threshold
    if stored.indexed and (above != (_grey(_colours(stored)) >= threshold)).any():
        raise InputError(
            f"The mask {path} has a palette, whose grey levels and indices lie on different sides"
            f" of {threshold}.",
            tip="Leave --mask-threshold out where its indices are class ids.",
        )
    ids = above.astype(np.int32)
    return ids if ignore is None else np.where(values == ignore, IGNORED, ids)


def _grey(colours: Ids) -> NDArray[np.float64]:
    red, green, blue = (colours >> place & 255 for place in (16, 8, 0))
    grey: NDArray[np.float64] = 0.299 * red + 0.587 * green + 0.114 * blue + 1e-9
    return grey


def _colours(stored: Stored) -> Ids:
    if stored.colours is not None:
        return stored.colours
    assert stored.values is not None
    return stored.values.astype(np.int32) * 0x010101


def _by_colours(stored: Stored, path: Place, how: Meaning) -> bool:
    """Whether colours name the classes, not ids."""
    if stored.values is None:
        if how.table.colours:
            return True
        raise InputError(
            f"The mask {path} is in colours, and which class each stands for is not known.",
            tip="Name them with --classes FILE.csv (columns name,index,colour).",
        )
    if not how.table.colours:
        return False
    if stored.colours is not None and not stored.indexed:
        return True
    if not stored.indexed and any(
        not red == green == blue for red, green, blue in how.table.colours
    ):
        return False  # Grey levels among colours are ids.
    fits = fits_colours(stored, how.table)
    if how.by_colour and not fits:
        _ids_of_colours(path, _colours(stored), how.table)  # names the colour
    return fits if how.by_colour is None else how.by_colour


def fits_colours(stored: Stored, table: ClassTable) -> bool:
    """Whether the table names every colour of the mask."""
    known = {red << 16 | green << 8 | blue for red, green, blue in table.colours}
    if stored.values is not None and not ((stored.values >= 0) & (stored.values <= VOID)).all():
        return False
    return set(np.unique(_colours(stored)).tolist()) <= known


def _ids_of_colours(path: Place, packed: Ids, table: ClassTable) -> Ids:
    known = {r << 16 | g << 8 | b: index for (r, g, b), index in table.colours.items()}
    present, place = np.unique(packed, return_inverse=True)
    for colour in present.tolist():
        if colour not in known:
            row, column = _first(packed == colour)
            raise InputError(
                f"The mask {path} holds the colour #{colour:06x} (row {row}, column {column}), "
                f"which {table.source} does not name.",
                tip="Add it to the table; a JPEG blurs colours, so write masks as PNG.",
            )
    ids = np.array([known[colour] for colour in present.tolist()], np.int32)
    return ids[place].reshape(packed.shape)


def _plain(stored: Stored, path: Place) -> Ids:
    values = stored.values
    assert values is not None
    if values.dtype.kind == "f":
        raise InputError(
            f"The mask {path} holds fractions, which are no class ids.",
            tip="--mask-threshold N takes values from N on for class 1, or write class ids.",
        )
    if stored.lossy and not np.isin(values, (0, VOID)).all():
        raise InputError(
            f"The mask {path} is a JPEG, which blurs class ids.",
            tip="--mask-threshold 128 parts black from white; else write masks as PNG.",
        )
    return values.astype(np.int32)


def _renumbered(values: Ids, how: Meaning) -> tuple[Ids, Flags]:
    ids = np.full(values.shape, IGNORED, np.int32)
    for stored, index in how.renumbered:
        ids[values == stored] = index
    return ids, (ids == IGNORED) | (values == how.ignore)


def _void(values: Ids, stored: Stored, path: Place, how: Meaning) -> tuple[Ids, Flags]:
    """The values, and where they say nothing; 255 becomes 1 where masks are 0 and 255."""
    if how.ignore is not None:
        return values, values == how.ignore
    white = values == VOID
    ones = bool((values == 1).any())
    if how.white == "class" and ones:
        raise InputError(
            f"The mask {path} holds 1, and others hold 0 and 255, so what 255 means cannot be"
            " told.",
            tip="Give --ignore-index 255 if these pixels are to be left out, or --mask-threshold 1"
            " if both are the class.",
        )
    if not white.any():
        return values, white
    if (
        how.num_classes > 2
        or how.table.colours
        or (stored.indexed and (ones or how.white == "ignore"))
    ):
        return values, white
    if ((values > 1) & ~white).any():
        return values, white  # Soft edges, which are refused by what they hold.
    if ones or how.white == "ignore":
        here = "holds both 1 and 255" if ones else "holds 255, and others hold 1"
        raise InputError(
            f"The mask {path} {here}, so what 255 means cannot be told.",
            tip="Give --ignore-index 255 if these pixels are to be left out, or --mask-threshold 1"
            " if both are the class.",
        )
    if stored.indexed and (_colours(stored)[white] != _WHITE).any():
        raise InputError(
            f"The mask {path} holds 0 and 255, and its palette does not show 255 in white, so it"
            " may be class 1, or void as in VOC.",
            tip="Give --ignore-index 255 if it is to be left out, --mask-threshold 1 if it is the"
            " class.",
        )
    return np.where(white, 1, values), np.zeros_like(white)


def _checked(values: Ids, ids: Ids, void: Flags, path: Place, how: Meaning) -> Ids:
    wrong = ~void & ((ids < 0) | (ids >= how.num_classes))
    if wrong.any():
        row, column = _first(wrong)
        value, moved = int(values[row, column]), int(ids[row, column])
        became = "" if value == moved else f", with the offset {moved},"
        raise InputError(
            f"The mask {path} holds class {value} (row {row}, column {column}){became} and "
            f"the model's {how.num_classes} classes are 0 to {how.num_classes - 1}.",
            tip=_tip(values, value, how),
        )
    return np.where(void, IGNORED, ids)


def _tip(values: Ids, value: int, how: Meaning) -> str:
    if value < 0 or how.offset:
        return f"If these pixels are to be left out, give --ignore-index {value}."
    if how.num_classes == 2 and values.max() > 127:
        return (
            "--mask-threshold 128 takes brighter values for class 1, as of soft or anti-aliased"
            " edges; --ignore-index N leaves one out."
        )
    if value == how.num_classes:
        return (
            "Where ids begin at 1, give --mask-offset -1, and --ignore-index 0 if 0 is no class;"
            " else name the id to leave out with --ignore-index N."
        )
    if how.num_classes == 2:
        return (
            "--mask-threshold 1 takes all values above 0 for class 1; --ignore-index N leaves one"
            " out."
        )
    return "Renumber the mask, or name the id to leave out with --ignore-index N."


def _first(where: Flags) -> tuple[int, int]:
    row, column = np.argwhere(where)[0]
    return int(row), int(column)
