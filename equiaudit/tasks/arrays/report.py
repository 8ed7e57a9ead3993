"""What a result says of single outputs."""

from __future__ import annotations

from collections.abc import Iterator

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.pages import fragment
from equiaudit.results import Result
from equiaudit.tasks.arrays.task import ArrayTask
from equiaudit.tasks.sections import HtmlSections, Name, Section

_LISTED, _NARROW = 20, 6


def sections(result: Result, task: ArrayTask, *, narrow: bool) -> Iterator[Section]:
    """A table per kind: a row for each output, the most changed first."""
    show = figures.value if narrow else figures.quantity
    infos = {info.name: info for info in task.metrics}
    for shift in result.shifts.values():
        if not shift.parts:
            continue
        shown = [name for name in task.of_parts if name in shift.parts[0].metrics]
        rows = [
            (Name(part.name), *(show(part.metrics.get(n), infos[n]) for n in shown))
            for part in shift.parts[: _NARROW if narrow else _LISTED]
        ]
        yield Section(
            f"Single {task.part}s",
            (task.part, *(infos[name].title for name in shown)),
            rows,
            align="l" + "r" * len(shown),
            of=shift.kind,
        )


def html(result: Result, task: ArrayTask) -> HtmlSections:
    """The same tables."""
    found = [
        {
            "title": table.title,
            "of": visible(table.of),
            "header": table.header,
            "rows": [[visible(row[0]), *row[1:]] for row in table.rows],
        }
        for table in sections(result, task, narrow=False)
    ]
    return HtmlSections(fragment("equiaudit.tasks.arrays", "parts", tables=found))
