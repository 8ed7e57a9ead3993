"""A comparison as text, json, csv, md and html."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from markupsafe import Markup
from rich.text import Text

from equiaudit.comparison.overview import overview, signed
from equiaudit.comparison.types import Comparison, ComparisonRow
from equiaudit.errors import InputError
from equiaudit.report import figures, html, parts
from equiaudit.report.escape import code_span, prose, terminal, visible
from equiaudit.report.pages import environment

_WIDTH, _FEW = 100, 5
_CAUTION = "Each row is judged by its own 95% interval; one unchanged figure in twenty may miss it."


def render_comparison(comparison: Comparison, format: str) -> str:
    """`comparison` as text, json, csv, md or html; InputError names these for any other."""
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
        change=signed(row.difference, info),
        basis=_basis(row),
        verdict=row.verdict,
    )


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
    return parts.text(_parts(comparison), color=False, width=_WIDTH)


def _parts(comparison: Comparison) -> Iterator[parts.Part]:
    """The answer in a screen; `--format md` has how each difference was made."""
    seen = overview(comparison)
    yield Text(f"b: {terminal(comparison.model_b)}")
    yield Text(f"a: {terminal(comparison.model_a)}; the same {comparison.n_images:,} images")
    yield Text("")
    yield from (Text(line) for line in (seen.verdict, *seen.labels))
    figures_of = parts.table("b against a", *seen.kinds)
    for title, cells in seen.rows:
        figures_of.add_row(title, *cells)
    yield figures_of
    for title, lines in seen.lists:
        yield from parts.bullets(terminal(title), [terminal(line, 200) for line in lines[:_FEW]])
    yield Text("")
    yield Text(_CAUTION)
    yield from (Text(f"- {terminal(note, 300)}") for note in comparison.notes)


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


def _html(comparison: Comparison) -> str:
    style = html.style_sheet()
    page = environment("equiaudit.comparison").get_template("comparison.html.jinja")
    return page.render(
        style=Markup(style),
        style_hash=html.csp_hash(style),
        seen=overview(comparison),
        model_a=visible(comparison.model_a),
        model_b=visible(comparison.model_b),
        n_images=f"{comparison.n_images:,}",
        shown=[_shown(row) for row in comparison.rows],
        caution=_CAUTION,
        notes=[visible(note, 300) for note in comparison.notes],
    )


_FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "json": _json,
    "csv": _csv,
    "md": _markdown,
    "html": _html,
}
