"""The result as one HTML file: no script, no network, nothing that a name could inject."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup

from equiaudit.report import causes, curves, figures, findings, maps, scales, words
from equiaudit.report.escape import visible
from equiaudit.report.options import Options
from equiaudit.report.pages import environment
from equiaudit.results import GridMap, Result, ShiftResult
from equiaudit.tasks import of_result

_LISTED = 200
_MOST_KINDS = 12
_PHASE_CELL = 40
_MAPS_AND_THUMBNAILS = 4_400_000
"""What the 5 MB of the file leave for both; thumbnails that do not fit are left out."""


@dataclass(frozen=True)
class HtmlReport:
    """One file under 5 MB that opens from a folder, in light and dark, on any width.

    The content policy allows its own style sheet (by hash) and `data:` images, and nothing
    else; every string of the result passes through the template's escaping.
    """

    file: str = "report.html"

    def render(self, result: Result, options: Options) -> str:
        """The document; `options.images` keeps the thumbnails."""
        style, drawings = style_sheet(), _drawings(result)
        room = _room(drawings) if options.images else 0
        page = environment().get_template("report.html.jinja")
        return page.render(
            style=Markup(style),
            style_hash=csp_hash(style),
            **_opening(result),
            **_tables(result),
            **drawings,
            own=of_result(result).html(result, room),
        )


FORMAT = HtmlReport()


@cache
def style_sheet() -> str:
    """The style sheet with the colour steps of the maps."""
    sheet = environment().get_template("report.css.jinja")
    return sheet.render(colours=scales.COLOURS)


def csp_hash(style: str) -> str:
    """The name by which a content policy lets this style sheet in."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _opening(result: Result) -> dict[str, Any]:
    found = findings.findings(result)
    return {
        "title": findings.headline(result),
        "model": visible(result.fingerprint.model),
        "tool_version": visible(result.tool_version),
        "started": visible(result.timings.started),
        "n_images": f"{result.fingerprint.n_images:,}",
        "plan": words.plan_in_words(result),
        "findings": found,
        "warnings": words.warnings(result),
        "subject": findings.subject(result),
        "gates": words.gate_rows(result),
    }


def _tables(result: Result) -> dict[str, Any]:
    units = [findings.unit(result, shift) for shift in result.shifts.values()]
    return {
        "kinds": [visible(kind) for kind in result.shifts][:_MOST_KINDS],
        "metric_rows": [_metric_row(row, units) for row in words.metric_rows(result)],
        "left_out": [
            (
                title,
                [(visible(i.name), visible(i.reason, 300)) for i in items[:_LISTED]],
                len(items),
            )
            for title, items in words.left_out(result)
        ],
        "notes": words.notes(result),
        "sampled": findings.sampled(result),
        "settings": words.settings_rows(result),
        "timings": _timings(result),
        "method_notes": words.method_notes(result),
        "command": words.reproduce(result),
    }


def _metric_row(row: words.MetricRow, units: Sequence[str]) -> dict[str, Any]:
    cells = [
        {
            "value": figures.value(estimate, row.info) if estimate else "",
            "interval": figures.interval(estimate, row.info),
            "basis": figures.counted(estimate, unit) if estimate else "",
            "method": f"interval: {visible(estimate.method)}" if estimate else "",
        }
        for estimate, unit in zip(row.estimates[:_MOST_KINDS], units, strict=False)
    ]
    better = "higher is better" if row.info.higher_is_better else "lower is better"
    meaning = f"{row.info.meaning}; {better}" if row.info.meaning else ""
    return {"title": row.info.title, "meaning": meaning, "cells": cells}


def _timings(result: Result) -> tuple[tuple[str, str], ...]:
    ran = result.timings
    stages = ", ".join(f"{name} {spent:.1f} s" for name, spent in ran.seconds_by_stage.items())
    rows = (
        ("started", ran.started),
        ("took", f"{ran.seconds:,.1f} s"),
        ("images through the model", f"{ran.passes:,}"),
        ("by stage", stages),
        ("batch size", str(ran.batch_size or "")),
        ("machine", ran.machine),
    )
    return tuple((name, visible(value, 300)) for name, value in rows if value)


def _drawings(result: Result) -> dict[str, Any]:
    shifts = list(result.shifts.values())[:_MOST_KINDS]
    offsets, offset_legend = maps.heat_maps(_grids(shifts, "agreement_map"), sparse=True)
    phases, phase_legend = maps.heat_maps(_grids(shifts, "phase_map"), _PHASE_CELL)
    return {
        "offset_maps": offsets,
        "offset_legend": offset_legend,
        "phase_maps": phases,
        "fractions": isinstance(result.fingerprint.plan.get("fraction"), int),
        "phase_legend": phase_legend,
        "curves": curves.curves([(shift.kind, shift.by_distance) for shift in shifts]),
        "by_distance": causes.by_distance(result),
        "bars": curves.bars(result.boundary, findings.change_info(result)),
        "plot": curves.SIZES,
    }


def _grids(shifts: Sequence[ShiftResult], field: str) -> list[tuple[str, GridMap]]:
    found = ((shift.kind, getattr(shift, field)) for shift in shifts)
    return [(kind, grid) for kind, grid in found if grid is not None and grid.rows and grid.cols]


def _room(drawings: dict[str, Any]) -> int:
    """Bytes that the maps leave for what the task draws."""
    return _MAPS_AND_THUMBNAILS - maps.bytes_of((*drawings["offset_maps"], *drawings["phase_maps"]))
