"""The result as one HTML file: no script, no network, nothing that a name could inject."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from equiaudit.report import curves, dense, figures, findings, maps, scales, words
from equiaudit.report.escape import is_picture, visible
from equiaudit.report.options import Options
from equiaudit.results import GridMap, Result, ShiftResult, WorstImage

__all__ = ["HtmlReport"]

_LISTED = 200
_MOST_KINDS = 12
_MOST_WORST = 48
_PHASE_CELL = 40
_MAPS_AND_THUMBNAILS, _CELL_BYTES = 4_400_000, 140
"""What the 5 MB of the file leave for both; thumbnails that do not fit are left out."""


@dataclass(frozen=True)
class HtmlReport:
    """One file under 5 MB that opens from a folder, in light and dark, on any width.

    The content policy allows its own style sheet (by hash) and `data:` images, and nothing
    else; every string of the result passes through the template's escaping.
    """

    name: str = "html"
    suffix: str = ".html"

    def render(self, result: Result, options: Options) -> str:
        """The document; `options.images` keeps the thumbnails."""
        style, drawings = _style(), _drawings(result)
        room = _room(drawings) if options.images else 0
        examples, room = dense.example_cards(result, room)
        page = _environment().get_template("report.html.jinja")
        return page.render(
            style=Markup(style),
            style_hash=_csp_hash(style),
            **_opening(result),
            **_tables(result),
            **drawings,
            examples=examples,
            heat_cards=dense.heat_cards(result, room),
            worst=_worst(result, room),
        )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("equiaudit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    """The style sheet with the colour steps of the maps."""
    sheet = _environment().get_template("report.css.jinja")
    return sheet.render(colours=scales.COLOURS)


def _csp_hash(style: str) -> str:
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
        "subject": findings.subject(result),
        "gates": words.gate_rows(result),
    }


def _tables(result: Result) -> dict[str, Any]:
    return {
        "kinds": [visible(kind) for kind in result.shifts][:_MOST_KINDS],
        "class_tables": dense.class_tables(result),
        "receptive_field": dense.receptive_field(result),
        "metric_rows": [_metric_row(row) for row in words.metric_rows(result)],
        "left_out": [
            (
                title,
                [(visible(i.name), visible(i.reason, 300)) for i in items[:_LISTED]],
                len(items),
            )
            for title, items in words.left_out(result)
        ],
        "notes": words.notes(result),
        "settings": words.settings_rows(result),
        "timings": _timings(result),
        "method_notes": words.method_notes(result),
        "command": words.reproduce(result),
    }


def _metric_row(row: words.MetricRow) -> dict[str, Any]:
    cells = [
        {
            "value": figures.value(estimate, row.info) if estimate else "",
            "interval": figures.interval(estimate, row.info),
            "basis": f"n = {estimate.n:,}, {visible(estimate.method)}" if estimate else "",
        }
        for estimate in row.estimates[:_MOST_KINDS]
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
    changes, change_legend = dense.change_maps(result)
    return {
        "change_maps": changes,
        "change_legend": change_legend,
        "profiles": dense.profile_curves(result),
        "offset_maps": offsets,
        "offset_legend": offset_legend,
        "phase_maps": phases,
        "phase_legend": phase_legend,
        "curves": curves.curves([(shift.kind, shift.by_distance) for shift in shifts]),
        "bars": curves.bars(result.boundary, findings.change_info(result)),
        "plot": {
            "map": maps.PLOT,
            "width": curves.WIDTH,
            "height": curves.HEIGHT,
            "bar": curves.BAR,
        },
    }


def _grids(shifts: Sequence[ShiftResult], field: str) -> list[tuple[str, GridMap]]:
    found = ((shift.kind, getattr(shift, field)) for shift in shifts)
    return [(kind, grid) for kind, grid in found if grid is not None and grid.rows and grid.cols]


def _room(drawings: dict[str, Any]) -> int:
    """Bytes that the maps leave for thumbnails."""
    drawn = ("offset_maps", "phase_maps", "change_maps")
    cells = sum(len(map.cells) for name in drawn for map in drawings[name])
    return _MAPS_AND_THUMBNAILS - _CELL_BYTES * cells


def _worst(result: Result, room: int) -> list[dict[str, Any]]:
    """The cards, with thumbnails as long as `room` bytes last."""
    shown = []
    for worst in result.worst[:_MOST_WORST]:
        pair = _thumbnails(worst)
        room -= sum(map(len, pair))
        shown.append(_card(result, worst) | {"thumbnails": pair if room >= 0 else ()})
    return shown


def _thumbnails(worst: WorstImage) -> tuple[str, ...]:
    """Both thumbnails, or none: a pair says what one alone cannot."""
    pair = (worst.thumbnail_clean or "", worst.thumbnail_shifted or "")
    return pair if all(map(is_picture, pair)) else ()


def _card(result: Result, worst: WorstImage) -> dict[str, Any]:
    dy, dx = worst.offset
    return {
        "file": visible(worst.file),
        "kind": visible(worst.kind),
        "truth": words.label_name(result, worst.label) if worst.label is not None else "",
        "clean": words.label_name(result, worst.clean_label),
        "confidence": _sureness(worst.clean_confidence),
        "flipped": words.label_name(result, worst.flipped_label),
        "offset": f"({dy}, {dx})".replace("-", "−"),
        "agreement": figures.share(worst.agreement, 0),
    }


def _sureness(confidence: float | None) -> str:
    return "" if confidence is None else f"{figures.share(confidence, 0)} sure unshifted"
