"""The result for a pull request or a job summary: GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from equiaudit.report import causes, figures, findings, words
from equiaudit.report.escape import code_span, prose
from equiaudit.report.options import Options
from equiaudit.results import Result, Skipped
from equiaudit.tasks import of_result
from equiaudit.tasks.sections import Name, Place, Section

_LISTED = 50
_MOST_KINDS = 24
_MOST_GATES = 200
_VERDICTS = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "⚠️ inconclusive"}


@dataclass(frozen=True)
class MarkdownReport:
    """Same content as html without the pictures; well under the 1 MiB of a job summary."""

    file: str = "report.md"

    def render(self, result: Result, options: Options) -> str:
        """The document; `options` change nothing."""
        return "\n".join(_lines(result)).rstrip("\n") + "\n"


FORMAT = MarkdownReport()


def step_summary(result: Result) -> str:
    """What to append to the file that ``$GITHUB_STEP_SUMMARY`` names; under 1 MiB."""
    return FORMAT.render(result, Options())


def _lines(result: Result) -> Iterator[str]:
    yield from (f"## Shift consistency of {code_span(result.fingerprint.model)}", "")
    yield from _opening(result)
    yield from _gates(result)
    yield from _metrics(result)
    own = tuple(of_result(result).sections(result, narrow=False))
    yield from _sections(own, "figures")
    yield from _boundary(result)
    yield from _sections(own, "causes")
    yield from _left_out(result)
    yield from _bullets("Notes", [prose(note) for note in words.notes(result)])
    yield from _settings(result)


def _opening(result: Result) -> Iterator[str]:
    for warning in words.warnings(result):
        yield from (f"**Warning:** {prose(warning)}.", "")
    found = findings.findings(result)
    if not found:
        yield from (f"**{prose(findings.headline(result))}.**", "")
    for finding in found:
        name = code_span(finding.kind) + finding.title.removeprefix(finding.kind)
        said = f"**{prose(finding.sentence)}** ({name})"
        yield f"- {said}: {finding.share}, {finding.evidence}"
    yield from ("", f"{result.fingerprint.n_images:,} images; {prose(words.plan_in_words(result))}")
    yield ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> Iterator[str]:
    marks = {"r": "---:", "l": "---"}
    columns = align or "l" * len(header)
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join(marks[mark] for mark in columns)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _gates(result: Result) -> Iterator[str]:
    if not result.gates:
        return
    yield from ("### Gates", "")
    rows = (
        (
            _VERDICTS.get(gate.verdict, gate.verdict),
            code_span(gate.expression),
            gate.measured,
            prose(gate.reason),
        )
        for gate in words.gate_rows(result)[:_MOST_GATES]
    )
    yield from _table(("verdict", "gate", "measured", "why"), rows)


def _metrics(result: Result) -> Iterator[str]:
    rows = words.metric_rows(result)
    if not rows:
        return
    kinds = tuple(result.shifts)[:_MOST_KINDS]
    yield from ("### Figures", "")
    header = ("metric", *(code_span(kind) for kind in kinds))
    shown = ((prose(row.info.title), *(_cell(row, i) for i in range(len(kinds)))) for row in rows)
    yield from _table(header, shown, "l" + "r" * len(kinds))
    yield from ("In brackets: 95% intervals; the image is the sampling unit.", "")


def _cell(row: words.MetricRow, column: int) -> str:
    estimate = row.estimates[column]
    return "" if estimate is None else figures.quantity(estimate, row.info)


def _sections(own: Iterable[Section], after: Place) -> Iterator[str]:
    """Those of the task that stand behind the figures, or behind the causes."""
    for section in own:
        if section.after == after:
            of = f" {code_span(section.of)}" if section.of else ""
            yield from (f"### {section.title}{of}", "")
            rows = (tuple(map(_said, row)) for row in section.rows)
            yield from _table(tuple(map(_said, section.header)), rows, section.align)
            if section.below is not None:
                yield from (prose(section.below), "")


def _said(cell: str) -> str:
    return code_span(cell) if isinstance(cell, Name) else cell


def _boundary(result: Result) -> Iterator[str]:
    if not result.boundary:
        return
    yield from (f"### What changes {findings.subject(result)}, by cause", "")
    info = findings.change_info(result)
    rows = (
        (
            prose(part.name),
            figures.quantity(part.estimate, info) if part.estimate else "not known",
            prose(causes.why(part)),
            prose(part.remedy) if part.remedy else "",
        )
        for part in result.boundary
    )
    yield from _table(("cause", "change", "what it is", "what to do"), rows, "lrll")
    yield from _sections(causes.by_distance(result), "causes")


def _left_out(result: Result) -> Iterator[str]:
    for title, items in words.left_out(result):
        yield from _bullets(f"{prose(title)} ({len(items):,})", [_skipped(item) for item in items])


def _skipped(item: Skipped) -> str:
    return f"{code_span(item.name)}: {prose(item.reason)}"


def _bullets(title: str, items: Sequence[str]) -> Iterator[str]:
    if not items:
        return
    yield from (f"### {title}", "", *(f"- {item}" for item in items[:_LISTED]))
    if len(items) > _LISTED:
        yield f"- and {len(items) - _LISTED:,} more, all of them in `result.json`"
    yield ""


def _settings(result: Result) -> Iterator[str]:
    yield from ("<details><summary>What the numbers depend on</summary>", "")
    rows = ((code_span(name), code_span(value)) for name, value in words.settings_rows(result))
    yield from _table(("setting", "value"), rows)
    yield "</details>"
