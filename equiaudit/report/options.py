"""What a format may be asked to do differently, and what a format is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from equiaudit.results import Result


@dataclass(frozen=True)
class Options:
    """Choices of one rendering; a format reads those that concern it."""

    images: bool = True
    """Thumbnails in html."""
    strict: bool = False
    """An inconclusive gate is a failure in junit and an error in github."""
    color: bool = False
    """ANSI colours in text."""
    width: int = 80
    """Columns of text."""


class Format(Protocol):
    """One output format: the name of its file, and the result as a string."""

    @property
    def file(self) -> str:
        """In the folder of a scan."""

    def render(self, result: Result, options: Options) -> str:
        """The whole document."""
