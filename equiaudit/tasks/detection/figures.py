"""The metrics of one series of shifts, from the records of its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics import lattice
from equiaudit.metrics.dense import largest
from equiaudit.metrics.intervals import bca_interval, mean_interval, ratio_interval
from equiaudit.metrics.quantiles import pooled_quantiles
from equiaudit.results import (
    DistancePoint,
    Estimate,
    GridMap,
    JitterMap,
    JitterPoint,
    UnstableBox,
)
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.tasks.detection.records import COUNTS, EACH, MOVES, BoxRecord, BoxSeries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUNDED = ("box_consistency", "box_consistency_75")
"""The metrics that are means of one share per image, of those with boxes."""
_INSIDE = {
    "mask_consistency": "mask_consistency",
    "mask_iou": "mask_iou",
    "keypoint_similarity": "alike",
}
_UNSTABLE = 50
_MEDIAN, _P95 = 0.5, 0.95
_SIZES = ("kept_small", "kept_medium", "kept_large")


def figures_of(own: Sequence[BoxSeries], *, seed: int) -> dict[str, Estimate]:
    """Every metric that has boxes to speak of."""
    totals = {name: _column(own, name) for name in COUNTS}
    counted = totals["counted"]
    found: dict[str, Estimate] = {}
    for name, shares in shares_of(own).items():
        found[name] = mean_interval(shares)
    for name in ("kept", "lost", "relabelled"):
        found[f"boxes_{name}"] = ratio_interval(totals[name], counted)
    found["boxes_appeared"] = _per_box(totals["appeared"], counted, seed)
    for place, name in enumerate(_SIZES):
        kept, boxes = np.array([s.sizes[place] for s in own], np.float64).reshape(-1, 2).T
        if boxes.any():
            found[name] = ratio_interval(kept, boxes)
    found |= _jitters(own, seed)
    wobble = [s.wobble for s in own if s.wobble is not None]
    in_range = all(0 <= value <= 1 for value in wobble)
    for name, field in _INSIDE.items():
        inside = [getattr(s, field) for s in own]
        if known := [value for value in inside if value is not None]:
            found[name] = mean_interval(known)
    found["score_wobble"] = mean_interval(wobble) if in_range else bca_interval(wobble, seed=seed)
    return found


def shares_of(own: Sequence[BoxSeries]) -> dict[str, Floats]:
    """By metric of `BOUNDED`, the shares of the images that have boxes."""
    found = {}
    for place, name in enumerate(BOUNDED):
        shares = [s.consistency[place] for s in own]
        found[name] = np.array([share for share in shares if share is not None], np.float64)
    return found


def _column(own: Sequence[BoxSeries], name: str) -> Floats:
    return np.array([s.total(name) for s in own], np.float64)


def _per_box(appeared: Floats, counted: Floats, seed: int) -> Estimate:
    """Sum over sum; its interval is that of the mean of linearised figures."""
    total = counted.sum()
    if not total:
        return Estimate(value=None, n=0, method="none")
    ratio = float(appeared.sum() / total)
    linear = bca_interval(ratio + (appeared - ratio * counted) / counted.mean(), seed=seed)
    ends = {"low": None if linear.low is None else max(0.0, linear.low)}
    return linear.model_copy(update={"value": ratio} | ends)


def _jitters(own: Sequence[BoxSeries], seed: int) -> dict[str, Estimate]:
    def of(name: str) -> list[Floats]:
        return [s.moved[:, MOVES.index(name)] for s in own]

    levels = (_MEDIAN, _P95)
    median, most = pooled_quantiles(of("jitter"), levels, seed=seed)
    found = {"jitter_median": median, "jitter_p95": most}
    found["jitter_max"] = largest(np.concatenate([*of("jitter"), np.zeros(0)]))
    for name in ("centre", "size"):
        names = (f"jitter_{name}_median", f"jitter_{name}_p95")
        found |= zip(names, pooled_quantiles(of(name), levels, seed=seed), strict=True)
    found["jitter_share_p95"] = pooled_quantiles(of("share"), (_P95,), seed=seed)[0]
    return found


def unkept(records: Sequence[BoxRecord], name: str) -> Floats:
    """(n,) share of the boxes counted that are not kept, 0 where there are none."""
    counted, kept = (_column([r.of(name) for r in records], c) for c in ("counted", "kept"))
    return np.asarray(
        np.divide(counted - kept, counted, out=np.zeros_like(kept), where=counted > 0)
    )


def grid_maps(
    plan: ShiftPlan, series: Series, records: Sequence[BoxRecord]
) -> tuple[GridMap, GridMap | None]:
    """Boxes kept by (dy, dx), and by phase where the stride is known."""
    low, parts, stride = series.low, series.parts, plan.stride
    axis = lattice.axis(low, series.high, parts)
    whole = _grid(axis, axis, plan, series, records, lambda at: lattice.cells(at, low, parts))
    if stride is None:
        return whole, None
    rows, columns = (lattice.phase_axis(step, parts) for step in stride)
    phases = _grid(
        rows, columns, plan, series, records, lambda at: lattice.phase_cells(at, stride, parts)
    )
    return whole, phases


def _grid(
    rows: tuple[float, ...],
    columns: tuple[float, ...],
    plan: ShiftPlan,
    series: Series,
    records: Sequence[BoxRecord],
    cells: Callable[[lattice.Numbers], Ints],
) -> GridMap:
    agree, total = np.zeros((2, len(rows), len(columns)), np.int64)
    for record in records:
        at = cells(plan.offsets(series, record.index))
        counts = record.of(series.name).by_shift
        np.add.at(total, (at[:, 0], at[:, 1]), counts[:, COUNTS.index("counted")])
        np.add.at(agree, (at[:, 0], at[:, 1]), counts[:, COUNTS.index("kept")])
    return GridMap(rows=rows, cols=columns, agree=_tuples(agree), total=_tuples(total))


def _tuples(counts: Ints) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())


def by_distance(
    plan: ShiftPlan, series: Series, records: Sequence[BoxRecord]
) -> tuple[DistancePoint, ...]:
    """Boxes kept at each tried distance max(|dy|, |dx|) > 0; images are the unit."""
    far = np.array([np.abs(plan.offsets(series, r.index)).max(axis=1) for r in records])
    counts = np.array([r.of(series.name).by_shift for r in records], np.float64)
    counted, kept = (counts[..., COUNTS.index(n)] for n in ("counted", "kept"))
    return tuple(
        DistancePoint(
            distance=lattice.px(d),
            agreement=ratio_interval(
                (kept * (far == d)).sum(axis=1), (counted * (far == d)).sum(axis=1)
            ),
        )
        for d in np.unique(far)
        if d > 0
    )


def jitter_by_distance(
    plan: ShiftPlan, series: Series, records: Sequence[BoxRecord]
) -> tuple[JitterPoint, ...]:
    """Mean jitter of kept boxes at each tried distance > 0; images are the unit."""
    far, kept, moved = _by_shift(plan, series, records)
    distance = np.abs(far).max(axis=2)
    points = []
    for d in np.unique(distance[distance > 0]).tolist():
        at = distance == d
        total = (kept * at).sum(axis=1)
        if total.any():
            jitter = _per_box((moved * at).sum(axis=1), total, plan.seed)
            points.append(JitterPoint(distance=lattice.px(d), jitter=jitter))
    return tuple(points)


def jitter_maps(
    plan: ShiftPlan, series: Series, records: Sequence[BoxRecord]
) -> tuple[JitterMap, JitterMap | None]:
    """Mean jitter of kept boxes by (dy, dx), and by phase where the stride is known."""
    low, parts, stride = series.low, series.parts, plan.stride
    axis = lattice.axis(low, series.high, parts)
    every = _by_shift(plan, series, records)
    whole = _jitter_map(axis, axis, every, lambda at: lattice.cells(at, low, parts))
    if stride is None:
        return whole, None
    rows, columns = (lattice.phase_axis(step, parts) for step in stride)
    return whole, _jitter_map(
        rows, columns, every, lambda at: lattice.phase_cells(at, stride, parts)
    )


def _by_shift(
    plan: ShiftPlan, series: Series, records: Sequence[BoxRecord]
) -> tuple[lattice.Numbers, Floats, Floats]:
    """(n, K, 2) offsets; (n, K) boxes that are kept, and their jitter summed."""
    own = [r.of(series.name) for r in records]
    offsets = np.stack([plan.offsets(series, r.index) for r in records])
    kept = np.stack([s.by_shift[:, COUNTS.index("kept")] for s in own]).astype(np.float64)
    return offsets, kept, np.stack([s.jitter_of_shifts for s in own])


def _jitter_map(
    rows: tuple[float, ...],
    columns: tuple[float, ...],
    every: tuple[lattice.Numbers, Floats, Floats],
    cells: Callable[[lattice.Numbers], Ints],
) -> JitterMap:
    offsets, kept, moved = every
    at = tuple(cells(offsets).reshape(-1, 2).T)
    sums, counts = np.zeros((2, len(rows), len(columns)))
    np.add.at(sums, at, moved.ravel())
    np.add.at(counts, at, kept.ravel())
    values = tuple(
        tuple(s / c if c else None for s, c in zip(*row, strict=True))
        for row in zip(sums.tolist(), counts.tolist(), strict=True)
    )
    return JitterMap(rows=rows, cols=columns, values=values)


def unstable(
    records: Sequence[BoxRecord], name: str, names: Mapping[int, str]
) -> tuple[UnstableBox, ...]:
    """The least stable boxes of all images: those kept least often, then those that move most."""
    found = [(r.index, r.file, row) for r in records for row in r.of(name).unstable.tolist()]
    kept, compared, worst = (EACH.index(n) for n in ("kept", "compared", "jitter_max"))

    def rank(each: tuple[int, str, list[float]]) -> tuple[float, float, int]:
        index, _, row = each
        moved = 0.0 if np.isnan(row[worst]) else row[worst]
        return row[kept] / row[compared], -moved, index

    return tuple(
        UnstableBox(
            file=file,
            label=int(row[5]),
            name=names.get(int(row[5])),
            score=row[4],
            box=(row[0], row[1], row[2], row[3]),
            kept=int(row[kept]),
            compared=int(row[compared]),
            jitter_max=None if np.isnan(row[worst]) else row[worst],
        )
        for _, file, row in sorted(found, key=rank)[:_UNSTABLE]
    )
