"""When a scan has seen enough: every gate settled, or every interval narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.errors import InputError
from equiaudit.gates import Gate
from equiaudit.metrics.anytime import betting_bounds, betting_interval
from equiaudit.results import (
    BorderBin,
    BoundaryPart,
    ClassDecisions,
    ClassScore,
    DenseShift,
    Estimate,
    JitterPoint,
    Result,
    ShiftResult,
)

if TYPE_CHECKING:
    from equiaudit.audit.shelf import Records
    from equiaudit.audit.task import R, TaskAudit
    from equiaudit.shifts import ShiftPlan

V = TypeVar("V", BorderBin, ClassScore, ClassDecisions, JitterPoint)

Figures = Mapping[str, NDArray[np.float64]]
"""Metric -> one figure in [0, 1] per image, whose mean the metric is."""


@dataclass(frozen=True)
class Stopping:
    """What ends a scan before its images do; it ends when all that is asked for holds.

    With `early`, each of `gates` has to be passed or failed by the bounds; with `precision`,
    the bounds of the leading metric of every kind, and of the gated ones, have to lie within
    that distance of the middle. Bounds are those of `metrics.anytime`, so looking often does
    not make a verdict less certain.
    """

    gates: tuple[Gate, ...] = ()
    early: bool = False
    precision: float | None = None

    @classmethod
    def prepare(
        cls, gates: Sequence[Gate], *, early: bool, precision: float | None
    ) -> Stopping | None:
        """None where nothing ends the scan early; InputError where what is asked cannot."""
        if not early and precision is None:
            return None
        if precision is not None and not 0 < precision < 1:
            raise InputError(
                f"--precision is {precision:g}; it is a share between 0 and 1.",
                tip="0.01 ends the scan when its intervals reach 1 point to either side.",
            )
        if early and not gates:
            raise InputError("--early-stop needs a gate to settle.", tip="Give one with --gate.")
        for gate in gates if early else ():
            _refuse_drop(gate)
        return cls(tuple(gates), early, precision)

    def check(self, task: TaskAudit[R]) -> None:
        """InputError where a gate is on a metric without bounds that hold at all times."""
        known = task.bounded
        if not known:
            raise InputError(
                "--early-stop and --precision are for shares, as of labels that stay: these "
                "outputs have no figures with bounds that hold at any time.",
                tip="Leave them out.",
            )
        for gate in self.gates if self.early else ():
            if gate.metric not in known:
                raise InputError(
                    f"The gate {gate.expression!r} cannot end a scan early: {gate.metric} is no "
                    "mean of figures in [0, 1].",
                    tip=f"Those are {', '.join(known)}; or leave --early-stop out.",
                )

    def holds(self, figures: Mapping[str, Figures]) -> bool:
        """Whether the scan may end; `figures` by name of the series, then of the metric."""
        gated = ((gate.kind, gate.metric) for gate in self.gates)
        wanted = {(kind, metric) for kind, metric in gated if metric in figures[kind]}
        if self.precision is not None:
            wanted |= {(kind, next(iter(own))) for kind, own in figures.items()}
        bounds = {(k, m): betting_bounds(figures[k][m]) for k, m in wanted}
        unknown = (0.0, 1.0)
        if self.early and not all(
            _settles(gate, *bounds.get((gate.kind, gate.metric), unknown)) for gate in self.gates
        ):
            return False
        widest = max((high - low for low, high in bounds.values()), default=1.0)
        return self.precision is None or widest <= 2 * self.precision

    def restated(self, result: Result, figures: Mapping[str, Figures], total: int) -> Result:
        """`result` with bounds that hold at any time, or none where there are none such.

        `total` is the number of images there were.
        """
        shifts = {name: _restated(shift, figures[name]) for name, shift in result.shifts.items()}
        boundary = tuple(_restated_part(part) for part in result.boundary)
        notes = (*result.notes, self._note(result.fingerprint.n_images, total, figures))
        update = {"shifts": shifts, "boundary": boundary, "notes": notes}
        return result.model_copy(update=update)

    def _note(self, images: int, total: int, figures: Mapping[str, Figures]) -> str:
        reasons = ["every gate was settled"] if self.early else []
        if self.precision is not None:
            reasons.append(f"the intervals reached {self.precision:g} to either side")
        reached = " and ".join(reasons)
        ended = f"ended after {images} of {total} images, when {reached}"
        if not self.holds(figures):
            ended = f"all {total} images went through before {reached}"
        return (
            f"{ended}; the intervals hold however often they are looked at (betting-cs), and "
            "figures without such bounds have none"
        )


def _refuse_drop(gate: Gate) -> None:
    if gate.drop:
        raise InputError(
            f"The gate {gate.expression!r} cannot end a scan early: a drop is judged on the "
            "images of the baseline, all of them.",
            tip="Leave --early-stop out, or gate on the figure itself.",
        )


def _settles(gate: Gate, low: float, high: float) -> bool:
    return gate.meets(low) == gate.meets(high)


def finite_figures(
    task: TaskAudit[R], plan: ShiftPlan, records: Records[R]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The figures of every series, of the images that are readable and finite in it."""
    read = records.readable
    return {s.name: task.figures(s, read.where(task.finite(read, s.name))) for s in plan.series}


def _restated(shift: ShiftResult, figures: Figures) -> ShiftResult:
    metrics = {
        name: betting_interval(figures[name]) if name in figures else _without_bounds(estimate)
        for name, estimate in shift.metrics.items()
    }
    distances = tuple(
        point.model_copy(update={"agreement": _without_bounds(point.agreement)})
        for point in shift.by_distance
    )
    parts = tuple(
        part.model_copy(
            update={"metrics": {n: _without_bounds(e) for n, e in part.metrics.items()}}
        )
        for part in shift.parts
    )
    names = ("consistency", "agreement", "f1_clean", "f1_shifted")
    classes = tuple(_all_without_bounds(each, names) for each in shift.classes)
    update: dict[str, object] = {
        "metrics": metrics,
        "by_distance": distances,
        "parts": parts,
        "classes": classes,
    }
    if shift.boxes is not None:
        points = (_all_without_bounds(p, ("jitter",)) for p in shift.boxes.jitter_by_distance)
        update["boxes"] = shift.boxes.model_copy(update={"jitter_by_distance": tuple(points)})
    if shift.dense is not None:
        update["dense"] = _map_without_bounds(shift.dense)
    return shift.model_copy(update=update)


def _map_without_bounds(dense: DenseShift) -> DenseShift:
    bins = tuple(_all_without_bounds(each, ("change",)) for each in dense.profile.bins)
    classes = tuple(
        _all_without_bounds(each, ("iou_clean", "iou_shifted", "iou_worst", "lost_object"))
        for each in dense.classes
    )
    profile = dense.profile.model_copy(update={"bins": bins})
    return dense.model_copy(update={"profile": profile, "classes": classes})


def _all_without_bounds(value: V, names: Sequence[str]) -> V:
    """A result type with the bounds of its fields `names` taken away."""
    found = {name: getattr(value, name) for name in names}
    update = {name: _without_bounds(e) for name, e in found.items() if e is not None}
    return value.model_copy(update=update)


def _restated_part(part: BoundaryPart) -> BoundaryPart:
    if part.estimate is None:
        return part
    update: dict[str, object] = {"estimate": _without_bounds(part.estimate)}
    if part.reason is not None:
        update["reason"] = "a scan that may end early leaves out what tells them apart"
    return part.model_copy(update=update)


def _without_bounds(estimate: Estimate) -> Estimate:
    return estimate.model_copy(update={"low": None, "high": None, "method": "none"})
