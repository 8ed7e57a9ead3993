"""What a result says of several labels: a table of classes per shift kind."""

from __future__ import annotations

from collections.abc import Iterator

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.pages import fragment
from equiaudit.results import ClassDecisions, Result
from equiaudit.tasks import METRICS
from equiaudit.tasks.sections import HtmlSections, Name, Section

_LISTED, _NARROW, _MOST_KINDS = 50, 10, 24
_WIDE = ("class", "true", "decided", "consistency", "agreement", "F1, unshifted", "shifted")
_SHORT = ("class", "consistency", "F1", "shifted")


def sections(result: Result, *, narrow: bool) -> Iterator[Section]:
    """One table per kind, the least consistent class first."""
    for kind, classes in tables(result)[: None if narrow else _MOST_KINDS]:
        rows = [_cells(one) for one in classes[: _NARROW if narrow else _LISTED]]
        header, keep = (_SHORT, (0, 3, 5, 6)) if narrow else (_WIDE, tuple(range(len(_WIDE))))
        shown = [tuple(row[i] for i in keep) for row in rows]
        align = "l" + "r" * (len(header) - 1)
        yield Section("Classes, the least consistent first, under", header, shown, align, of=kind)


def tables(result: Result) -> list[tuple[str, tuple[ClassDecisions, ...]]]:
    """(shift kind, its classes) where there are any."""
    return [(visible(s.kind), s.classes) for s in result.shifts.values() if s.classes]


def html(result: Result, room: int) -> HtmlSections:
    """The same."""
    found = [(kind, [_cells(one) for one in classes[:_LISTED]]) for kind, classes in tables(result)]
    shown = fragment("equiaudit.tasks.multilabel", "classes", tables=found, header=_WIDE)
    return HtmlSections(figures=shown)


def _cells(one: ClassDecisions) -> tuple[str, ...]:
    share, f1 = METRICS["label_consistency"], METRICS["f1_macro_clean"]
    return (
        Name(visible(one.name) if one.name else str(one.index)),
        figures.NOTHING if one.true is None else f"{one.true:,}",
        f"{one.decided:,}",
        figures.quantity(one.consistency, share),
        figures.quantity(one.agreement, share),
        figures.quantity(one.f1_clean, f1),
        figures.quantity(one.f1_shifted, f1),
    )
