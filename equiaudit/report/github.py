"""GitHub workflow commands: the verdicts as annotations on the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from equiaudit.report import findings, words
from equiaudit.report.escape import visible, workflow_message, workflow_property
from equiaudit.report.options import Options
from equiaudit.results import Result

_MOST = 10
"""GitHub shows ten of a level per step and drops the rest without a word."""
_LEVELS = ("error", "warning", "notice")


@dataclass(frozen=True)
class _Annotation:
    level: str
    title: str
    message: str

    def command(self) -> str:
        title = workflow_property(visible(self.title))
        return f"::{self.level} title={title}::{workflow_message(self.message)}"


@dataclass(frozen=True)
class GithubReport:
    """At most ten annotations, errors first; the last one counts what had no room."""

    file: str = "github.txt"

    def render(self, result: Result, options: Options) -> str:
        """One command per line."""
        found = sorted(_annotations(result, options.strict), key=lambda a: _LEVELS.index(a.level))
        return "".join(f"{annotation.command()}\n" for annotation in _fitting(found))


FORMAT = GithubReport()


def _fitting(found: list[_Annotation]) -> list[_Annotation]:
    if len(found) <= _MOST:
        return found
    shown, rest = found[: _MOST - 1], found[_MOST - 1 :]
    worst = rest[0].level
    return [*shown, _Annotation(worst, "equiaudit", f"{len(rest)} more, see the report.")]


def _annotations(result: Result, strict: bool) -> Iterator[_Annotation]:
    yield _Annotation("notice", "equiaudit", findings.headline(result) + ".")
    for warning in words.warnings(result):
        yield _Annotation("warning", "equiaudit", f"{warning}.")
    levels = {
        "pass": "notice",
        "not judged": "notice",
        "inconclusive": "error" if strict else "warning",
        "fail": "error",
    }
    for gate in words.gate_rows(result):
        measured = f"measured {gate.measured}; " if gate.measured else ""
        said = f"{gate.expression}: {gate.verdict}: {measured}{gate.reason}."
        yield _Annotation(levels[gate.verdict], f"Gate {gate.verdict}", said)
    for title, items in words.left_out(result):
        first = f"{visible(items[0].name)} ({visible(items[0].reason)})"
        more = f" and {len(items) - 1:,} more" if len(items) > 1 else ""
        yield _Annotation("warning", title, f"{len(items):,}: {first}{more}.")
