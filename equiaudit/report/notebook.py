"""Results as a notebook shows them: whole pages, each in a frame of its own."""

from __future__ import annotations

from html import escape

from equiaudit.report.formats import render
from equiaudit.report.repair import render_fix, render_inspection, render_verification
from equiaudit.results import Result
from equiaudit.results.repair import FixReport, Inspection, Verification

_HEIGHT = 720
"""px; what is longer scrolls."""


def scan(result: Result) -> str:
    """report.html in a frame, so that its styles and the notebook's keep apart."""
    return (
        f'<iframe srcdoc="{escape(render(result, "html"))}" sandbox=""'
        f' style="width:100%;height:{_HEIGHT}px;border:0"></iframe>'
    )


def fix(report: FixReport) -> str:
    """As `equiaudit fix` prints it."""
    return _preformatted(render_fix(report))


def verification(record: Verification) -> str:
    """As `equiaudit verify` prints it."""
    return _preformatted(render_verification(record))


def inspection(found: Inspection) -> str:
    """As `equiaudit inspect` prints it."""
    return _preformatted(render_inspection(found))


def _preformatted(text: str) -> str:
    return f'<pre style="white-space:pre;font-family:monospace">{escape(text)}</pre>'
