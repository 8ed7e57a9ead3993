"""Names of a model's classes, as they are found: lists, tables, JSON, and what models carry.

A name per line counts from 0; so does a JSON list. A JSON object, or a table with the columns
index and name, says the index. A wnid before the name ("n01440764 tench, Tinca tinca", or
["n01440764", "tench"]) is a further name of the class.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from equiaudit.data.places import Place, read_text
from equiaudit.errors import InputError

_NAMES_KEYS = (
    *("names", "class_names", "classes", "labels", "id2label", "idx_to_class"),
    *("class_to_idx", "label2id"),
)
_TABLES = {"meta", "metadata", "dataset_meta", "hyper_parameters", "hparams", "config", "args"}
"""What settings beside weights are called: by mmengine, Lightning and others."""
_MOST_TABLES = 16
_LONGEST = 1 << 20
"""Characters of metadata that are looked at."""
_MOST = 1 << 17
_WNID = re.compile(r"(n\d{8})\s+(\S.*)", re.ASCII)
_TIP = "A name per line in the order of the model's outputs, a CSV with index,name, or JSON."


@dataclass(frozen=True)
class ClassNames:
    """In the order of the model's outputs."""

    names: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    """Their wnids, where each has one."""


def read_class_names(path: Place) -> ClassNames:
    """The names in a file; InputError where it holds none or does not name each class once."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(f"There is no file of class names at {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The class names {path} cannot be read: {error}.") from None
    try:
        found = _ordered(json.loads(text)) if text.lstrip()[:1] in ("{", "[") else _of_text(text)
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} holds no class names: {error}.", tip=_TIP) from None
    if not found.names:
        raise InputError(f"{path} names no class.", tip=_TIP)
    return found


def names_in_metadata(text: str) -> tuple[str, ...] | None:
    """The names in a model's metadata: JSON or a Python literal, a list or by index, or a comma
    list; None where it is something else."""
    if len(text) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return _ordered(parse(text)).names or None
        except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError):
            continue
    parts = [part.strip() for part in re.split(r"[,\n]", text)]
    plain = len(parts) > 1 and all(parts) and not set("{}[]") & set(text)
    return tuple(parts) if plain else None


def names_in_file(text: str) -> tuple[str, ...] | None:
    """The names in a file that a model carries, as `read_class_names` reads one."""
    if "\n" not in text or text[:1] in ("{", "["):
        return names_in_metadata(text)
    try:
        return _of_text(text).names or None
    except (ValueError, TypeError, KeyError, csv.Error):
        return None


def names_in_mapping(found: object) -> tuple[str, ...] | None:
    """The names in what is saved beside weights: under a key that names of classes have, or in a
    table of settings inside; None where there are none."""
    for holder in _holders(found):
        known = {str(key).lower(): value for key, value in holder.items()}
        for key in _NAMES_KEYS:
            names = _names_of(known.get(key))
            if names is not None and not all(name.isdecimal() for name in names):
                return names
    return None


def _holders(found: object) -> Iterator[Mapping[object, object]]:
    """`found` and the tables of settings in it."""
    pending = [found]
    for table in islice(pending, _MOST_TABLES):  # which grows
        if isinstance(table, Mapping):
            yield table
            pending += [v for key, v in table.items() if str(key).lower() in _TABLES]


def _names_of(value: object) -> tuple[str, ...] | None:
    if value is None or isinstance(value, str):
        return names_in_metadata(value) if value else None
    try:
        return _ordered(value).names or None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _of_text(text: str) -> ClassNames:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    header = [cell.strip().lower() for cell in lines[0].split(",")] if lines else []
    if "index" in header and {"name", "class", "label"} & set(header):
        name = next(column for column in ("name", "class", "label") if column in header)
        rows = list(csv.reader(io.StringIO("\n".join(lines[1:]))))
        places = [(int(row[header.index("index")]), row[header.index(name)]) for row in rows]
        if len({i for i, _ in places}) != len(places):
            raise ValueError("an index is there twice")
        return _ordered({i: label.strip() for i, label in places})
    return _ordered(lines)


def _ordered(found: object) -> ClassNames:
    """From a list, or an object whose keys are the indices (or whose values are)."""
    if isinstance(found, Mapping):
        if found and all(isinstance(value, int) for value in found.values()):
            found = {i: name for name, i in found.items()}  # name -> index, as ImageFolder has it
        places = {int(key): value for key, value in found.items()}
        if sorted(places) != list(range(len(places))) or len(places) != len(found):
            raise ValueError("its indices are not 0, 1, 2, ...")
        found = [places[i] for i in range(len(places))]
    if not isinstance(found, Sequence) or isinstance(found, str | bytes) or len(found) > _MOST:
        raise ValueError("it is no list of names")
    both = [_id_and_name(entry) for entry in found]
    ids = tuple(wnid for wnid, _ in both)
    return ClassNames(
        tuple(name for _, name in both), tuple(filter(None, ids)) if all(ids) else None
    )


def _id_and_name(entry: object) -> tuple[str | None, str]:
    if isinstance(entry, list | tuple) and len(entry) == 2:
        return str(entry[0]), str(entry[1])
    if not isinstance(entry, str | int):
        raise ValueError(f"{str(entry)[:40]!r} is no name")
    match = _WNID.fullmatch(str(entry))
    return (match[1], match[2]) if match else (None, str(entry))
