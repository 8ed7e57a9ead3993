"""From the records of one series to profiles and maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.audit.pictures import data_uri
from equiaudit.metrics import lattice
from equiaudit.metrics.flips import flip_ratio, kept_of
from equiaudit.results import (
    BorderBin,
    DistancePoint,
    Estimate,
    GridMap,
    HeatMap,
    ImageHeatMap,
)
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.maps.frames import Frames
from equiaudit.tasks.maps.records import MapRecord, MapSeries, unpacked

Floats = NDArray[np.float64]
Records = Sequence[MapRecord[Any]]

_MOST_HEAT_MAPS = 500


def border_bins_of(
    frames: Frames, own: Sequence[MapSeries], pool: Callable[[Floats, Floats], Estimate]
) -> tuple[BorderBin, ...]:
    """`pool` takes the (n,) sums and pixels of one bin."""
    sums = np.array([s.border_sum for s in own])
    counts = np.array([s.border_count for s in own], np.float64)
    return tuple(
        BorderBin(low=low, high=high, change=pool(sums[:, i], counts[:, i]))
        for i, (low, high) in enumerate(frames.edges)
    )


def mean_map(frames: Frames, own: Sequence[MapSeries]) -> HeatMap:
    """Mean over images of their heat maps."""
    total = np.zeros(frames.grid)
    count = np.zeros(frames.grid)
    for each in own:
        heat = unpacked(each.heat, frames.grid)
        seen = np.isfinite(heat)
        total += np.where(seen, heat, 0.0)
        count += seen
    height, width = frames.window
    rows = [
        tuple(float(f"{t / n:.4g}") if n else None for t, n in zip(ts, ns, strict=True))
        for ts, ns in zip(total.tolist(), count.tolist(), strict=True)
    ]
    return HeatMap(height=height, width=width, values=tuple(rows))


def heat_maps(frames: Frames, name: str, records: Records) -> tuple[ImageHeatMap, ...]:
    """Of the images that change, the most changed first; at most 500."""
    changed = [(float(r.of(name).changes.mean()), r) for r in records]
    changed = [(change, r) for change, r in changed if change > 0]
    changed.sort(key=lambda pair: (-pair[0], pair[1].index))
    return tuple(
        _picture(frames, r.file, change, r.of(name).heat) for change, r in changed[:_MOST_HEAT_MAPS]
    )


def _picture(frames: Frames, file: str, change: float, packed: str) -> ImageHeatMap:
    heat = np.nan_to_num(unpacked(packed, frames.grid))
    top = float(heat.max()) or 1.0
    pixels = np.rint(heat * (255 / top)).astype(np.uint8)
    picture = data_uri(pixels, max(frames.grid), smooth=False)
    return ImageHeatMap(file=file, change=change, top=float(f"{top:.4g}"), picture=picture)


def by_distance(plan: ShiftPlan, series: Series, records: Records) -> tuple[DistancePoint, ...]:
    """Share of pixels kept at each distance max(|dy|, |dx|) of the shift."""
    flips = np.array([r.of(series.name).changes for r in records])
    distance = np.array([np.abs(plan.offsets(series, r.index)).max(axis=1) for r in records])
    found = []
    for d in np.unique(distance):
        there = distance == d
        rate = flip_ratio((flips * there).sum(axis=1), there.sum(axis=1))
        found.append(DistancePoint(distance=lattice.px(d), agreement=kept_of(rate)))
    return tuple(found)


def pixel_maps(plan: ShiftPlan, series: Series, records: Records) -> tuple[GridMap, GridMap | None]:
    """Pixels kept and compared, by (dy, dx) and by phase; the latter where the stride is known."""
    offsets = np.concatenate([plan.offsets(series, r.index) for r in records])
    changes = np.concatenate([r.of(series.name).changes for r in records])
    height, width = plan.window
    lost = np.ceil(np.abs(offsets)).astype(np.int64)
    overlap = (height - lost[:, 0]) * (width - lost[:, 1])
    pixels = np.full(len(offsets), height * width) if series.moves.whole else overlap
    kept = pixels - np.rint(changes * pixels).astype(np.int64)
    low, parts = series.low, series.parts
    axis = lattice.axis(low, series.high, parts)
    whole = _grid_map(axis, axis, lattice.cells(offsets, low, parts), kept, pixels)
    if plan.stride is None:
        return whole, None
    rows, columns = (lattice.phase_axis(side, parts) for side in plan.stride)
    phases = lattice.phase_cells(offsets, plan.stride, parts)
    return whole, _grid_map(rows, columns, phases, kept, pixels)


def _grid_map(
    rows: tuple[float, ...],
    columns: tuple[float, ...],
    cells: NDArray[np.int64],
    kept: NDArray[np.int64],
    pixels: NDArray[np.int64],
) -> GridMap:
    agree = np.zeros((len(rows), len(columns)), np.int64)
    total = np.zeros_like(agree)
    np.add.at(agree, (cells[:, 0], cells[:, 1]), kept)
    np.add.at(total, (cells[:, 0], cells[:, 1]), pixels)
    return GridMap(rows=rows, cols=columns, agree=_tuples(agree), total=_tuples(total))


def _tuples(counts: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())
