"""A result as figures of matplotlib (`equiaudit[plot]`)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equiaudit.errors import InputError
from equiaudit.report.findings import subject
from equiaudit.results import Estimate, GridMap, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE = 3.2
"""Inches of one panel."""
_LARGEST = 4
"""Images that `frames` shows."""


def offsets(result: Result) -> Figure:
    """Agreement at each (dy, dx), a panel per kind of shift."""
    maps = {kind: shift.agreement_map for kind, shift in result.shifts.items()}
    return _grids(maps, "agreement by offset", ("dx, px", "dy, px"))


def phases(result: Result) -> Figure:
    """Agreement by (dy mod S, dx mod S), S the total stride."""
    maps = {kind: shift.phase_map for kind, shift in result.shifts.items()}
    return _grids(maps, "agreement by phase", ("dx mod stride", "dy mod stride"))


def distance(result: Result) -> Figure:
    """Agreement by distance max(|dy|, |dx|), with its intervals, a line per kind."""
    figure, axes = _panel()
    drawn = False
    for kind, shift in result.shifts.items():
        points = [p for p in shift.by_distance if p.agreement.value is not None]
        if points:
            at = [point.distance for point in points]
            _line(axes, at, [point.agreement for point in points], kind)
            drawn = True
    if not drawn:
        raise _nothing("agreement by distance")
    axes.set(xlabel="distance, px", ylabel="agreement", ylim=(0, 1.02))
    axes.legend(frameon=False)
    return figure


def causes(result: Result) -> Figure:
    """The share of each cause, with its interval."""
    parts = [(part.name, part.estimate) for part in result.boundary if part.estimate is not None]
    known = [(name, each) for name, each in parts if each.value is not None]
    if not known:
        raise _nothing("causes")
    figure, axes = _panel(height=0.5 + 0.45 * len(known))
    names = [name for name, _ in known]
    shares = [float(each) for _, each in known]
    axes.barh(names, shares, xerr=_reach([each for _, each in known]), alpha=0.6, capsize=3)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel=f"share of changes of {subject(result)}")
    return figure


def frames(result: Result) -> Figure:
    """The least stable images before and after the shift that changes them."""
    rows = _strips(result)[:_LARGEST]
    if not rows:
        raise _nothing("pictures of the least stable images")
    from matplotlib import image

    columns = max(len(pictures) for _, pictures in rows)
    figure, axes = _panels(len(rows), columns)
    for row, (title, pictures) in zip(axes, rows, strict=True):
        for each in row:
            each.axis("off")
        for each, (name, uri) in zip(row, pictures, strict=False):
            png = base64.b64decode(uri.partition(",")[2])
            each.imshow(image.imread(io.BytesIO(png)), interpolation="nearest", cmap="gray")
            each.set_title(name)
        row[0].set_title(f"{title}\n{pictures[0][0]}", loc="left")
    return figure


Strip = tuple[str, Sequence[tuple[str, str]]]
"""A title, and pictures with their names."""


def _strips(result: Result) -> list[Strip]:
    found: list[Strip] = []
    for worst in result.worst:
        if worst.thumbnail_clean and worst.thumbnail_shifted:
            names = [
                result.class_names.get(label, str(label))
                for label in (worst.clean_label, worst.flipped_label)
            ]
            pair = (worst.thumbnail_clean, worst.thumbnail_shifted)
            found.append((_title(worst), tuple(zip(names, pair, strict=True))))
    for dense in result.examples:
        names = ["input", "shifted", "prediction", "shifted, moved back", "difference"]
        pictures = (dense.input, dense.shifted_input, dense.clean, dense.shifted_back)
        found.append((_title(dense), tuple(zip(names, (*pictures, dense.difference), strict=True))))
    for boxes in result.box_examples:
        named = {"unshifted": boxes.unshifted, "shifted": boxes.shifted, "both": boxes.both}
        found.append((_title(boxes), tuple(named.items())))
    return found


def _title(example: Any) -> str:
    return f"{example.file}, {example.kind} ({', '.join(map(str, example.offset))})"


def _grids(maps: Mapping[str, GridMap | None], what: str, labels: tuple[str, str]) -> Figure:
    known = {kind: grid for kind, grid in maps.items() if grid is not None}
    if not known:
        raise _nothing(what)
    figure, axes = _panels(1, len(known))
    for each, (kind, grid) in zip(axes[0], known.items(), strict=True):
        total = np.array(grid.total, float)
        share = np.divide(grid.agree, total, out=np.full(total.shape, np.nan), where=total > 0)
        edges = [_edges(grid.cols), _edges(grid.rows)]
        drawn = each.pcolormesh(*edges, share, vmin=0, vmax=1)
        each.set(title=kind, xlabel=labels[0], ylabel=labels[1], aspect="equal")
        each.invert_yaxis()
    figure.colorbar(drawn, ax=list(axes[0]), label="agreement", shrink=0.8)
    return figure


def _edges(centres: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The borders of cells around `centres`, halfway between neighbours."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    at = np.asarray(centres, float)
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate(([2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]))


def _line(axes: Axes, at: Sequence[float], estimates: Sequence[Estimate], label: str) -> None:
    values = [float(each) for each in estimates]
    axes.errorbar(at, values, yerr=_reach(estimates), marker="o", capsize=2, label=label)


def _reach(estimates: Sequence[Estimate]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(2, n): how far each interval reaches below and above its value; 0 without one."""

    def ends(each: Estimate) -> tuple[float, float]:
        value = float(each)
        low = value if each.low is None else each.low
        high = value if each.high is None else each.high
        return max(0.0, value - low), max(0.0, high - value)

    return np.array([ends(each) for each in estimates]).T.reshape(2, -1)


def _panel(height: float = _SIDE) -> tuple[Figure, Axes]:
    figure, axes = _panels(1, 1)
    figure.set_size_inches(6, height)
    return figure, axes[0][0]


def _panels(rows: int, columns: int) -> tuple[Figure, Any]:
    """Without pyplot: nothing stays open, and no display is asked for."""
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A notebook shows it by itself; pyplot's hooks are what shows a plain figure."""

        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png")
            return out.getvalue()

    figure = Picture(figsize=(_SIDE * columns + 0.8, _SIDE * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _nothing(what: str) -> InputError:
    return InputError(f"This result holds no {what}.")
