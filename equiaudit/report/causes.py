"""Causes by the distance of the moves, and what to do about them."""

from __future__ import annotations

from equiaudit.report import figures, findings
from equiaudit.results import BoundaryPart, Result
from equiaudit.tasks.sections import Section


def why(part: BoundaryPart) -> str:
    """What it is, or why it is not known."""
    return part.reason if part.estimate is None and part.reason else part.meaning


def remedies(result: Result) -> tuple[tuple[str, str], ...]:
    """(name, what to do) of every cause that was found: its interval lies above 0."""
    return tuple(
        (part.name, part.remedy)
        for part in result.boundary
        if part.remedy and part.estimate and (part.estimate.low or 0.0) > 0
    )


def by_distance(result: Result) -> tuple[Section, ...]:
    """A table per kind of shift, where there are several distances."""
    info = findings.change_info(result)
    kinds = dict.fromkeys(part.name.partition(": ")[0] for part in result.boundary)
    found = []
    for kind in kinds:
        own = [p for p in result.boundary if p.name.startswith(f"{kind}: ") and p.by_distance]
        if own:
            header = ("px apart", *(part.name.removeprefix(f"{kind}: ") for part in own))
            rows = [
                (
                    _span(point.nearest, point.furthest),
                    *(figures.quantity(p.by_distance[i].estimate, info) for p in own),
                )
                for i, point in enumerate(own[0].by_distance)
            ]
            align = "l" + "r" * len(own)
            found.append(Section("Causes by distance,", header, rows, align, kind, "causes"))
    return tuple(found)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
