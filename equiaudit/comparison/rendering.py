"""A comparison as text, json, csv and md."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from equiaudit.comparison.types import Comparison, ComparisonRow
from equiaudit.errors import InputError
from equiaudit.report import figures
from equiaudit.report.escape import code_span, prose, terminal, visible
from equiaudit.results import Estimate, MetricInfo

_CAUTION = "Each row is judged by its own 95% interval; one unchanged figure in twenty may miss it."


def render_comparison(comparison: Comparison, format: str) -> str:
    """`comparison` as "text", "json", "csv" or "md"; InputError names these for any other."""
    if format not in _FORMATS:
        raise InputError(
            f"A comparison has no format {format!r}.", tip=f"Use one of {', '.join(_FORMATS)}."
        )
    return _FORMATS[format](comparison)


@dataclass(frozen=True)
class _Shown:
    """One row in words."""

    metric: str
    a: str
    b: str
    change: str
    basis: str
    verdict: str


def _shown(row: ComparisonRow) -> _Shown:
    info = figures.info_of(row.metric)
    return _Shown(
        metric=row.metric,
        a=figures.value(row.a, info),
        b=figures.value(row.b, info),
        change=_signed(row.difference, info),
        basis=_basis(row),
        verdict=row.verdict,
    )


def _signed(difference: Estimate, info: MetricInfo) -> str:
    """``+1.2 [0.4, 2.1]``, in points for shares."""
    number = figures.value(difference, info, unit=False)
    sign = "+" if difference.value and difference.value > 0 else ""
    unit = " points" if info.is_share else f" {info.unit}" if info.unit else ""
    return f"{sign}{number}{unit} {figures.interval(difference, info)}".rstrip()


def _basis(row: ComparisonRow) -> str:
    parts = [f"{'paired' if row.paired else 'not paired'}, n = {row.difference.n:,}"]
    if row.mcnemar:
        test = row.mcnemar
        parts.append(
            f"McNemar p = {_p_value(test.p_value)} ({test.a_only:,} only a, {test.b_only:,} only b)"
        )
    return "; ".join(parts)


def _p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _text(comparison: Comparison) -> str:
    lines = [f"a: {terminal(comparison.model_a)}", f"b: {terminal(comparison.model_b)}", ""]
    for row in map(_shown, comparison.rows):
        lines.append(f"{terminal(row.metric)}: {row.a} -> {row.b}, {row.verdict}")
        lines.append(f"  b - a = {row.change} ({row.basis})")
    lines += ["", _CAUTION, *(f"- {terminal(note)}" for note in comparison.notes)]
    return "\n".join(lines) + "\n"


def _json(comparison: Comparison) -> str:
    return json.dumps(comparison.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


_HEADER = [
    "kind",
    "metric",
    "a",
    "a_low",
    "a_high",
    "b",
    "b_low",
    "b_high",
    "difference",
    "low",
    "high",
    "n",
    "method",
    "paired",
    "mcnemar_p",
    "verdict",
]


def _csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(_cells(row) for row in comparison.rows)
    return text.getvalue()


def _cells(row: ComparisonRow) -> tuple[object, ...]:
    kind, _, metric = row.metric.rpartition(".")
    ends = (end for e in (row.a, row.b, row.difference) for end in (e.value, e.low, e.high))
    p_value = row.mcnemar.p_value if row.mcnemar else None
    found = row.difference
    paired = "yes" if row.paired else "no"
    names = (visible(kind), visible(metric))
    return (*names, *ends, found.n, visible(found.method), paired, p_value, row.verdict)


def _markdown(comparison: Comparison) -> str:
    return "\n".join(_markdown_lines(comparison)) + "\n"


def _markdown_lines(comparison: Comparison) -> Iterator[str]:
    yield f"## {code_span(comparison.model_b)} against {code_span(comparison.model_a)}"
    yield from ("", "| metric | a | b | b - a | basis | b is |", "|---|---:|---:|---:|---|---|")
    for row in map(_shown, comparison.rows):
        cells = (code_span(row.metric), row.a, row.b, row.change, row.basis, row.verdict)
        yield f"| {' | '.join(cells)} |"
    yield from ("", f"a: {code_span(comparison.model_a)}; b: {code_span(comparison.model_b)}.")
    yield from (_CAUTION, "", *(f"- {prose(note)}" for note in comparison.notes))


_FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "json": _json,
    "csv": _csv,
    "md": _markdown,
}
