"""Gates: what a result must meet, judged on its intervals.

A gate passes when the whole interval meets it, fails when none of it does, and is inconclusive
otherwise.
"""

from equiaudit.gates.grammar import GRAMMAR, Gate, check_names, needs_labels, parse_gate
from equiaudit.gates.verdicts import exit_code, judge, judged_against

__all__ = [
    "GRAMMAR",
    "Gate",
    "check_names",
    "exit_code",
    "judge",
    "judged_against",
    "needs_labels",
    "parse_gate",
]
