"""The verdicts, one line each, for stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.cli.terminal import Terminal

if TYPE_CHECKING:
    from equiaudit.results import Result


def say_verdicts(result: Result, terminal: Terminal) -> None:
    """``pass  circular.consistency>=0.9: 93.1% [91.4, 94.6]: <reason>`` for each gate."""
    from equiaudit.report.words import gate_rows

    for gate in gate_rows(result):
        said = f"{gate.measured}: {gate.reason}" if gate.measured else gate.reason
        terminal.say(f"{gate.verdict}  {gate.expression}: {said}")
