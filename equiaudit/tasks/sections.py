"""What a task adds to a report, before it is text, Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class Name(str):
    """A cell that holds what a file, a class or a kind is called; each format makes it harmless."""

    __slots__ = ()


Cell = str
Place = Literal["figures", "causes"]


@dataclass(frozen=True)
class Section:
    """A titled table."""

    title: str
    header: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    align: str = ""
    """"l" or "r" per column; all to the left where empty."""
    of: str = ""
    """Whose table it is, a shift kind, behind the title."""
    after: Place = "figures"
    below: str | None = None
    """A sentence under the table."""
    whole: bool = False
    """A terminal shows every row."""


@dataclass(frozen=True)
class HtmlSections:
    """Markup that is safe as it is, by where it stands."""

    first: str = ""
    """Behind the findings."""
    figures: str = ""
    """Behind the table of figures."""
    causes: str = ""
    """Behind the causes."""
