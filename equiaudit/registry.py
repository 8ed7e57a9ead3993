"""Names that stand for values, some of them loaded when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Generic, TypeVar, cast

from equiaudit.errors import InputError

V = TypeVar("V")


class Registry(Mapping[str, V], Generic[V]):
    """One row per name, in the order in which they were added.

    A row is the value, or "module:attribute" of where it is: so a table may name what lies above
    it, as an entry point does, and nothing is imported before it is needed.
    """

    def __init__(self, what: str, rows: Mapping[str, str]) -> None:
        self._what = what
        self._rows: dict[str, V | str] = dict(rows)

    def __getitem__(self, name: str) -> V:
        row = self._rows[name]
        if isinstance(row, str):
            module, _, attribute = row.partition(":")
            row = self._rows[name] = cast(V, getattr(import_module(module), attribute))
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def named(self, name: str) -> V:
        """The value called `name`; InputError with the nearest names where there is none."""
        if name in self._rows:
            return self[name]
        near = get_close_matches(name, self._rows, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise InputError(
            f"There is no {self._what} {name!r}.", tip=f"{hint}Known are {', '.join(self._rows)}."
        )

    def add(self, name: str, value: V) -> None:
        """A new row, at the end; InputError where the name is taken."""
        if name in self._rows:
            raise InputError(f"There is a {self._what} {name!r} already.")
        self._rows[name] = value

    def remove(self, name: str) -> None:
        """Take the row back; KeyError where there is none."""
        del self._rows[name]
