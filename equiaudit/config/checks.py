"""How a setting is read: each check takes the text of a flag, or a value of a settings file."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator


def _items(value: Any) -> Any:
    """A comma list as a tuple; lists pass through."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, (int, float)):
        value = [value]
    if not value:
        raise ValueError("the list is empty")
    return tuple(value)


def lines(value: Any) -> Any:
    """Expressions: one string is split at commas and line ends; lists pass through."""
    return _items(value.replace("\n", ",")) if isinstance(value, str) else tuple(value)


def assignments(value: Any) -> Any:
    """NAME=VALUE, one or a list of them, each name once."""
    items = (value,) if isinstance(value, str) else tuple(value)
    names = [str(item).partition("=")[0] for item in items]
    for item, name in zip(items, names, strict=True):
        if not name or not str(item).partition("=")[2]:
            raise ValueError(f"expected NAME=VALUE, got {item!r}")
    if len(set(names)) != len(names):
        raise ValueError("a name is given twice")
    return items


def _size(value: Any) -> Any:
    """``HxW``, one number for a square, or a pair."""
    parts = value.lower().split("x") if isinstance(value, str) else value
    if isinstance(parts, int):
        parts = [parts]
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise ValueError(f"expected HxW or one number, in px, got {value!r}")
    return (numbers[0], numbers[-1])


def bounds(value: Any) -> Any:
    """``LOW,HIGH``, two numbers of which the second is larger."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected LOW,HIGH as in -1,1, got {value!r}")
    return (low, high)


def share(value: Any) -> Any:
    """``0.5%`` or ``0.005``."""
    text = str(value)
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if value is not None and not 0 <= found <= 1:
        raise ValueError(f"expected 0.5% or 0.005, got {value!r}")
    return None if value is None else found


def or_word(word: str, least: int) -> BeforeValidator:
    """A whole number from `least` up, or `word`; None passes, for the type to judge."""

    def check(value: Any) -> Any:
        if value is None or value == word:
            return value
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = least - 1
        if isinstance(value, bool | float) or number < least:
            raise ValueError(f"expected {word!r} or a whole number from {least} up, got {value!r}")
        return number

    return BeforeValidator(check)


def square(value: Any) -> Any:
    """1, 4, 9 or 16."""
    number = int(value) if isinstance(value, int) or str(value).isdecimal() else 0
    if isinstance(value, bool) or number not in (1, 4, 9, 16):
        raise ValueError(f"expected 1, 4, 9 or 16, got {value!r}")
    return number


def one_of(names: tuple[str, ...]) -> BeforeValidator:
    """A comma list of `names`, each at most once."""

    def check(value: Any) -> Any:
        items = _items(value)
        for item in items:
            if item not in names:
                raise ValueError(f"{item!r} is unknown. {nearest(str(item), names)}")
        if len(set(items)) != len(items):
            raise ValueError("a name is given twice")
        return items

    return BeforeValidator(check)


def a_word(names: tuple[str, ...]) -> BeforeValidator:
    """One of `names`."""

    def check(value: Any) -> Any:
        if value not in names:
            quoted = listed([repr(name) for name in names])
            raise ValueError(f"input should be {quoted}, got {value!r}")
        return value

    return BeforeValidator(check)


def listed(names: Sequence[str]) -> str:
    """``auto, cpu or cuda``."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def device(value: Any) -> Any:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, got {value!r}")
    return value


Size = Annotated[tuple[int, int] | None, BeforeValidator(_size)]
Floats = Annotated[tuple[float, ...] | None, BeforeValidator(_items)]
Auto = Literal["auto"]


def nearest(name: str, known: Collection[str]) -> str:
    """What to suggest for a name that is not among `known`."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
