"""What a result says of single outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.pages import fragment
from equiaudit.results import MetricInfo, Result
from equiaudit.tasks.sections import HtmlSections, Name, Section

_LISTED, _NARROW = 20, 6


def sections(
    result: Result, part: str, infos: Sequence[MetricInfo], *, narrow: bool
) -> Iterator[Section]:
    """A table per kind: a row for each `part`, the most changed first, with the figures `infos`."""
    show = figures.value if narrow else figures.quantity
    for shift in result.shifts.values():
        if not shift.parts:
            continue
        shown = [info for info in infos if info.name in shift.parts[0].metrics]
        rows = [
            (Name(one.name), *(show(one.metrics.get(info.name), info) for info in shown))
            for one in shift.parts[: _NARROW if narrow else _LISTED]
        ]
        yield Section(
            f"Single {part}s",
            (part, *(info.title for info in shown)),
            rows,
            align="l" + "r" * len(shown),
            of=shift.kind,
        )


def html(result: Result, part: str, infos: Sequence[MetricInfo]) -> HtmlSections:
    """The same tables."""
    found = [
        {
            "title": table.title,
            "of": visible(table.of),
            "header": table.header,
            "rows": [[visible(row[0]), *row[1:]] for row in table.rows],
        }
        for table in sections(result, part, infos, narrow=False)
    ]
    return HtmlSections(figures=fragment("equiaudit.tasks.arrays", "parts", tables=found))
