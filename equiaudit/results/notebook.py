"""What a result does in a notebook: tables of pandas, a page, pictures of matplotlib.

Pages and pictures are drawn by `equiaudit.report`, which is loaded when one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from equiaudit.errors import InputError
from equiaudit.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from equiaudit.results.base import Estimate

_PAGES: Registry[Callable[[Any], str]] = Registry(
    "page",
    {
        "Result": "equiaudit.report.notebook:scan",
        "FixReport": "equiaudit.report.notebook:fix",
        "Verification": "equiaudit.report.notebook:verification",
        "Inspection": "equiaudit.report.notebook:inspection",
    },
)
_PLOTS: Registry[Callable[[Any], Figure]] = Registry(
    "plot",
    {
        "offsets": "equiaudit.report.plots:offsets",
        "phases": "equiaudit.report.plots:phases",
        "distance": "equiaudit.report.plots:distance",
        "causes": "equiaudit.report.plots:causes",
        "frames": "equiaudit.report.plots:frames",
    },
)


class Shown:
    """A value that a notebook shows as its report."""

    def _repr_html_(self) -> str:
        return _PAGES[type(self).__name__](self)


_FILES: Registry[Callable[[Any], Any]] = Registry(
    "written file", {"FixReport": "equiaudit.api.loading:fixed_module"}
)


class Written(Shown):
    """A report of something that was written to a file."""

    @property
    def module(self) -> Any:
        """The net that was written, a torch.nn.Module in eval mode, loaded from the file.

        InputError where nothing verified was written, or the file is ONNX.
        """
        return _FILES["FixReport"](self)


class Plotted(Shown):
    """A result with figures."""

    if TYPE_CHECKING:
        shifts: Mapping[str, Any]

    def to_dataframe(self) -> DataFrame:
        """A row per figure: kind, metric, value, low, high, n, method, confidence.

        Shares lie in 0..1. What was not measured under a kind has no row; what could not be
        averaged is NaN.
        """
        import pandas as pd

        rows = [
            {"kind": kind, "metric": metric, **_cells(estimate)}
            for kind, shift in self.shifts.items()
            for metric, estimate in shift.metrics.items()
        ]
        columns = ["kind", "metric", "value", "low", "high", "n", "method", "confidence"]
        return pd.DataFrame(rows, columns=columns)

    def table(self) -> DataFrame:
        """The values alone, a row per metric and a column per kind of shift."""
        found = self.to_dataframe()
        wide = found.pivot(index="metric", columns="kind", values="value")
        return wide.loc[found["metric"].unique(), list(self.shifts)]

    def plot(self, what: str = "offsets") -> Figure:
        """A matplotlib figure of "offsets", "phases", "distance", "causes" or "frames".

        "frames" shows the least stable images before and after their worst shift. InputError for
        another name, for what this result does not hold, and where matplotlib is missing.
        """
        draw = _PLOTS.named(what)
        try:
            import matplotlib as mpl
        except ImportError:
            raise InputError(
                "matplotlib is not installed.", tip="pip install 'equiaudit[plot]'"
            ) from None
        with mpl.rc_context({"figure.dpi": 100, "font.size": 9}):
            return draw(self)


def _cells(estimate: Estimate) -> dict[str, Any]:
    return {
        name: getattr(estimate, name)
        for name in ("value", "low", "high", "n", "method", "confidence")
    }
