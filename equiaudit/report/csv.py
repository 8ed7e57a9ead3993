"""One row per shift kind and metric, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from equiaudit.report.escape import visible
from equiaudit.report.options import Options
from equiaudit.results import Result

_FORMULAS = ("=", "+", "-", "@")
_HEADER = ("kind", "metric", "value", "low", "high", "n", "method")


@dataclass(frozen=True)
class CsvReport:
    """Columns kind, metric, value, low, high, n, method; shares in 0..1, empty where unknown."""

    file: str = "metrics.csv"

    def render(self, result: Result, options: Options) -> str:
        """The table; `options` change nothing."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(_rows(result))
        return text.getvalue()


FORMAT = CsvReport()


def _rows(result: Result) -> Iterator[tuple[object, ...]]:
    for kind, shift in result.shifts.items():
        for metric, e in shift.metrics.items():
            yield _name(kind), _name(metric), e.value, e.low, e.high, e.n, _name(e.method)


def _name(text: str) -> str:
    """`text` as a cell that no spreadsheet computes, behind an apostrophe if it could."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULAS) else shown
