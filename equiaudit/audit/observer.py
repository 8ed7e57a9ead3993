"""How a run tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Observer(Protocol):
    """Receives what a run has to say while it works; the engine itself never prints."""

    def settings(self, settings: Mapping[str, str]) -> None:
        """The settings in force, once, before any work starts."""

    def begin(self, total: int, done: int, each: int = 1) -> None:
        """`total` images will go through the model; `done` of them were kept by an earlier run.

        `each` of them are made of one image of the data.
        """

    def advance(self, passes: int) -> None:
        """`passes` more images went through the model."""

    def note(self, sentence: str) -> None:
        """Something worth a line: a file that could not be read, a run resumed."""


class Silent:
    """Listens to nothing."""

    def settings(self, settings: Mapping[str, str]) -> None:
        """Ignore."""

    def begin(self, total: int, done: int, each: int = 1) -> None:
        """Ignore."""

    def advance(self, passes: int) -> None:
        """Ignore."""

    def note(self, sentence: str) -> None:
        """Ignore."""
