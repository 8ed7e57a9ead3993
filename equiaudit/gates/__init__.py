"""Gates: what a result must meet, judged on its intervals.

A gate passes when the whole interval meets it, fails when none of it does, and is inconclusive
otherwise.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from equiaudit.gates.grammar import Gate, check_names, parse_gate

if TYPE_CHECKING:
    from equiaudit.gates.verdicts import exit_code, judge, judged_against

__all__ = [
    "Gate",
    "check_names",
    "exit_code",
    "judge",
    "judged_against",
    "parse_gate",
]


def __getattr__(name: str) -> Any:
    """Verdicts, loaded when first asked for: a gate that is none is refused without results."""
    if name in ("exit_code", "judge", "judged_against"):
        return getattr(import_module("equiaudit.gates.verdicts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
