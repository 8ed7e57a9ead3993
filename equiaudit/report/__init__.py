"""Result -> text, json, csv, md, html, junit, github. Sees results only."""

from equiaudit.formats import FORMATS
from equiaudit.report.formats import record_baseline, render, write_reports
from equiaudit.report.markdown import step_summary
from equiaudit.report.text import render_text

__all__ = [
    "FORMATS",
    "record_baseline",
    "render",
    "render_text",
    "step_summary",
    "write_reports",
]
