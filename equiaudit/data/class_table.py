"""``--classes FILE``: names and colours of the classes of masks.

A CSV with the columns name and index, and colour where masks are colour maps, or with name, r, g
and b (0 to 255), where the index is the place of the row:

    name,index,colour
    background,0,#000000
    crack,1,#ff0000
    void,255,#e0e0c0

`index` is the channel of the model's output, or the ignore index.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from equiaudit.data.places import Place, place_of, read_text
from equiaudit.errors import InputError

Colour = tuple[int, int, int]
_COLUMNS = {"name", "index", "colour"}
_CHANNELS = ("r", "g", "b")


@dataclass(frozen=True)
class ClassTable:
    """What a table of classes says."""

    names: Mapping[int, str] = field(default_factory=dict)
    """Class index -> name."""
    colours: Mapping[Colour, int] = field(default_factory=dict)
    """(red, green, blue), 0 to 255, -> class index; empty where the table has no colours."""
    source: str = "--classes"


def read_class_table(table: str | Place) -> ClassTable:
    """Read a table; InputError names the file and the line of what is wrong with it."""
    path = place_of(table)
    try:
        text = io.StringIO(read_text(path), newline="")
        return _table(path, csv.DictReader(text, strict=True))
    except FileNotFoundError:
        raise InputError(f"There is no table of classes at {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table of classes {path} cannot be read: {error}.") from None


def _table(path: Place, reader: csv.DictReader[str]) -> ClassTable:
    columns = {(name or "").strip() for name in reader.fieldnames or ()}
    if columns == {"name", *_CHANNELS}:
        return _of_channels(path, reader)
    if not {"name", "index"} <= columns <= _COLUMNS:
        raise InputError(
            f"{path} has the columns {', '.join(sorted(columns)) or 'none'}.",
            tip="A table of classes has the columns name, index and, for colour maps, colour; or"
            " name, r, g, b.",
        )
    names: dict[int, str] = {}
    colours: dict[Colour, int] = {}
    for row in reader:
        try:
            index = _index(row["index"])
            colour = _colour(row["colour"]) if "colour" in columns else None
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
        if colours.get(colour or (-1, -1, -1), index) != index:
            raise InputError(f"{path}, line {reader.line_num}, repeats the colour {row['colour']}.")
        names.setdefault(index, row["name"])
        if colour is not None:
            colours[colour] = index
    if not names:
        raise InputError(f"{path} names no class.")
    return ClassTable(names, colours, str(path))


def _of_channels(path: Place, reader: csv.DictReader[str]) -> ClassTable:
    names: dict[int, str] = {}
    colours: dict[Colour, int] = {}
    for index, row in enumerate(reader):
        cells = {key.strip(): (cell or "").strip() for key, cell in row.items() if key is not None}
        try:
            red, green, blue = (_level(cells.get(channel, "")) for channel in _CHANNELS)
        except ValueError as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
        if (red, green, blue) in colours:
            raise InputError(f"{path}, line {reader.line_num}, repeats a colour.")
        names[index], colours[red, green, blue] = cells.get("name", ""), index
    if not names:
        raise InputError(f"{path} names no class.")
    return ClassTable(names, colours, str(path))


def _level(cell: str) -> int:
    if not re.fullmatch(r"\d{1,3}", cell, re.ASCII) or int(cell) > 255:
        raise ValueError(f"{cell!r} is not a whole number from 0 to 255")
    return int(cell)


def _index(cell: str) -> int:
    if not re.fullmatch(r"\s*\d{1,5}\s*", cell or "", re.ASCII):
        raise ValueError(f"index {cell!r} is not a whole number from 0 up")
    return int(cell)


def _colour(cell: str) -> Colour:
    found = re.fullmatch(r"\s*#?([0-9a-fA-F]{6})\s*", cell or "", re.ASCII)
    if found is None:
        raise ValueError(f"colour {cell!r} is not like #ff8000")
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue
