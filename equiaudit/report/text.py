"""The result for a terminal: the finding in words, then tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from equiaudit.report import causes, figures, findings, words
from equiaudit.report.escape import terminal
from equiaudit.report.options import Options
from equiaudit.report.parts import printed
from equiaudit.results import Result, Skipped
from equiaudit.tasks import of_result
from equiaudit.tasks.sections import Name, Place, Section

_NAME_COLUMN = 28
_KIND_COLUMN = 17
"""Columns for a kind with the interval below the value."""
_WIDE_COLUMN = 24
"""Columns for a kind with the interval beside the value."""
_LISTED = 10
_Part = Text | Table | Padding
_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "not judged": "dim"}


@dataclass(frozen=True)
class TextReport:
    """Plain text, 80 columns, no colour codes."""

    file: str = "report.txt"

    def render(self, result: Result, options: Options) -> str:
        """The report as text."""
        return render_text(result, color=options.color, width=options.width)


FORMAT = TextReport()


def render_text(result: Result, color: bool = False, width: int = 80) -> str:
    """The report for a terminal `width` columns wide, with ANSI colours if `color`."""
    return printed(_parts(result, width), color=color, width=width)


def _parts(result: Result, width: int) -> Iterable[_Part]:
    yield from _opening(result)
    yield from _metrics(result, width)
    own = tuple(of_result(result).sections(result, narrow=True))
    yield from _sections(own, "figures")
    yield from _boundary(result)
    yield from _sections(own, "causes")
    yield from _gates(result)
    yield from _left_out(result)
    yield from _list("Notes", [terminal(note) for note in words.notes(result)])


def _opening(result: Result) -> Iterable[_Part]:
    for warning in words.warnings(result):
        yield Text(f"Warning: {terminal(warning, 600)}.", style="bold red")
    found = findings.findings(result)
    if not found:
        yield Text(findings.headline(result) + ".", style="bold")
    for finding in found:
        yield Text(f"{finding.sentence} ({terminal(finding.title)}).", style="bold")
        yield _indented(f"{finding.share}, {finding.evidence}")
    yield Text("")
    yield Text(f"{terminal(result.fingerprint.model)}, {result.fingerprint.n_images:,} images")
    yield Text(terminal(words.plan_in_words(result)))


def _indented(line: str) -> Padding:
    return Padding(Text(line), (0, 0, 0, 2))


def _heading(title: str) -> Iterable[Text]:
    yield Text("")
    yield Text(title, style="bold")


def _metrics(result: Result, width: int) -> Iterable[_Part]:
    rows = words.metric_rows(result)
    if not rows:
        return
    yield from _heading(f"Figures, with 95% intervals over {findings.sampled(result)}")
    kinds = tuple(result.shifts)
    gap = " " if width >= _NAME_COLUMN + _WIDE_COLUMN * len(kinds) else "\n"
    per_table = max(1, (width - _NAME_COLUMN) // _KIND_COLUMN)
    for first in range(0, len(kinds), per_table):
        columns = range(first, min(first + per_table, len(kinds)))
        yield _metric_table(rows, kinds, columns, gap)


def _metric_table(
    rows: Sequence[words.MetricRow], kinds: Sequence[str], columns: Sequence[int], gap: str
) -> Table:
    table = _table("", *(terminal(kinds[i]) for i in columns))
    for row in rows:
        if any(row.estimates[i] for i in columns):
            table.add_row(_title(row), *(Text(_cell(row, i, gap)) for i in columns))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _title(row: words.MetricRow) -> Text:
    unit = "%" if row.info.is_share else row.info.unit
    return Text(f"{terminal(row.info.title)}{f', {unit}' if unit else ''}")


def _cell(row: words.MetricRow, column: int, gap: str) -> str:
    estimate = row.estimates[column]
    if estimate is None:
        return ""
    number = figures.value(estimate, row.info, unit=False)
    return f"{number}{gap}{figures.interval(estimate, row.info)}".rstrip()


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table


def _sections(own: Iterable[Section], after: Place) -> Iterable[_Part]:
    """Those of the task that stand behind the figures, or behind the causes."""
    for section in own:
        if section.after == after:
            yield from _section(section)


def _section(section: Section) -> Iterable[_Part]:
    of = f" {terminal(section.of)}" if section.of else ""
    yield from _heading(f"{section.title}{of}")
    table = _table(*map(_said, section.header))
    shown = section.rows if section.whole else section.rows[:_LISTED]
    for row in shown:
        table.add_row(*(Text(_said(cell)) for cell in row))
    yield table
    if len(section.rows) > len(shown):
        yield Text(f"and {len(section.rows) - _LISTED:,} more, all of them in result.json")
    if section.below:
        yield Text(terminal(section.below, 600))


def _said(cell: str) -> str:
    return terminal(cell) if isinstance(cell, Name) else cell


def _boundary(result: Result) -> Iterable[_Part]:
    if not result.boundary:
        return
    yield from _heading(f"What changes {findings.subject(result)}, by cause")
    table = _table("cause", "share", "what it is")
    info = findings.change_info(result)
    for part in result.boundary:
        shown = figures.quantity(part.estimate, info) if part.estimate else "not known"
        table.add_row(Text(terminal(part.name)), Text(shown), Text(terminal(causes.why(part), 300)))
    yield table
    for name, remedy in causes.remedies(result):
        yield Text(terminal(f"{name}: {remedy}.", 300))
    yield from _sections(causes.by_distance(result), "causes")


def _gates(result: Result) -> Iterable[_Part]:
    if not result.gates:
        return
    yield from _heading("Gates")
    for gate in words.gate_rows(result):
        line = Text(f"{gate.verdict.upper():<13} ", style=_STYLES[gate.verdict])
        yield line.append(terminal(gate.expression), style="bold")
        measured = f"{gate.measured}: " if gate.measured else ""
        yield _indented(f"{measured}{terminal(gate.reason)}")


def _left_out(result: Result) -> Iterable[_Part]:
    for title, items in words.left_out(result):
        yield from _list(f"{terminal(title)} ({len(items):,})", [_skipped(item) for item in items])


def _skipped(item: Skipped) -> str:
    return f"{terminal(item.name)}: {terminal(item.reason)}"


def _list(title: str, items: Sequence[str]) -> Iterable[_Part]:
    if not items:
        return
    yield from _heading(title)
    for item in items[:_LISTED]:
        yield Text(f"- {item}", overflow="fold")
    if len(items) > _LISTED:
        yield Text(f"and {len(items) - _LISTED:,} more, all of them in result.json")
