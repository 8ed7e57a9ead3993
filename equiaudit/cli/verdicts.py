"""The verdicts, one line each, for stderr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equiaudit.cli.terminal import Terminal

if TYPE_CHECKING:
    from equiaudit.results import GateVerdict

__all__ = ["say_verdicts"]


def say_verdicts(verdicts: Sequence[GateVerdict], terminal: Terminal) -> None:
    """``pass  circular.consistency>=0.9: <reason>`` for each gate."""
    for verdict in verdicts:
        terminal.say(f"{verdict.verdict}  {verdict.expression}: {verdict.reason}")
