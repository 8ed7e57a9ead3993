"""Gate expressions.

    circular.consistency>=0.95          a metric of a shift kind against a threshold
    crop.accuracy_worst >= 60%          the same in percent
    zero-pad.consistency drop<=0.01     how much worse than the baseline it may be

Names and thresholds are checked here, before a run.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from equiaudit.errors import InputError
from equiaudit.tasks import METRICS, TASKS, metric_info, task_of_metric

GRAMMAR = (
    "A gate is KIND.METRIC [drop] OP NUMBER with OP one of >=, >, <=, <, "
    "e.g. circular.consistency>=0.95, crop.accuracy_worst>=60% or zero-pad.consistency drop<=0.01."
)
_SHAPE = re.compile(
    r"\s*(?P<kind>[\w-]+)\s*\.\s*(?P<metric>\w+)(?P<drop>\s+drop)?\s*"
    r"(?P<op>>=|<=|>|<)\s*(?P<number>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s*(?P<percent>%)?\s*",
    re.IGNORECASE | re.ASCII,
)
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Gate:
    """A parsed gate: `kind`.`metric`, or its drop below the baseline, `op` `threshold`.

    `threshold` is in the unit of the metric (shares in 0..1). A drop is how much worse the
    metric got: baseline less current where higher is better, current less baseline where lower
    is; below 0 it improved.
    """

    expression: str
    kind: str
    metric: str
    op: str
    threshold: float
    drop: bool = False

    @property
    def name(self) -> str:
        """``kind.metric``."""
        return f"{self.kind}.{self.metric}"

    def meets(self, figure: float) -> bool:
        """Whether `figure` is on the passing side of the threshold."""
        return _OPERATORS[self.op](figure, self.threshold)


def parse_gate(expr: str) -> Gate:
    """Read one gate expression.

    InputError, with the grammar and the nearest names, for what is not one; for a metric that
    does not exist; and for a threshold no value of the metric can be on both sides of (95 for a
    share: write 0.95 or 95%).
    """
    found = _SHAPE.fullmatch(expr)
    if found is None:
        raise InputError(f"{expr!r} is not a gate.", tip=_hint(expr) + GRAMMAR)
    metric = found["metric"].lower()
    if metric not in METRICS:
        raise InputError(
            f"The gate {expr!r} names a metric {metric!r} that does not exist.",
            tip=f"The nearest are {_nearest(metric, METRICS)}. {GRAMMAR}",
        )
    gate = Gate(
        expression=" ".join(expr.split()),
        kind=found["kind"].lower(),
        metric=metric,
        op=found["op"],
        threshold=_threshold(expr, metric, float(found["number"]), bool(found["percent"])),
        drop=found["drop"] is not None,
    )
    _check_threshold(gate)
    return gate


def _hint(expr: str) -> str:
    """The name that was probably meant, where the expression begins with something like one."""
    start = re.match(r"\s*[\w-]+\s*\.\s*(\w+)", expr, re.ASCII)
    if start is None or start[1].lower() in METRICS:
        return ""
    near = get_close_matches(start[1].lower(), METRICS, n=1)
    return f"Did you mean the metric {near[0]}? " if near else ""


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return ", ".join(get_close_matches(name, names, n=3, cutoff=0.3) or names[:3])


def _threshold(expr: str, metric: str, number: float, percent: bool) -> float:
    if percent and not metric_info(metric).is_share:
        unit = metric_info(metric).unit or "a plain number"
        raise InputError(
            f"The gate {expr!r} has a percentage, and {metric} is in {unit}.",
            tip="Leave the % out.",
        )
    return number / 100 if percent else number


def _check_threshold(gate: Gate) -> None:
    """A threshold beyond the metric's bounds is a slip: the gate could never fail, or pass."""
    info = metric_info(gate.metric)
    low = -math.inf if gate.drop else info.lower_bound
    high = math.inf if info.upper_bound is None else info.upper_bound
    if gate.drop and high < math.inf:
        low = -high
    if not low <= gate.threshold <= high:
        raise InputError(
            f"The gate {gate.expression!r} asks for {gate.threshold:g}, and {gate.metric} lies "
            f"between {low:g} and {high:g}.",
            tip="Write a share as 0.95 or 95%." if info.is_share else GRAMMAR,
        )


def needs_labels(metric: str) -> bool:
    """Whether a metric exists only for images with labels, masks or targets."""
    return metric_info(metric).needs_truth


def check_names(
    gates: Sequence[Gate],
    kinds: Iterable[str],
    labelled: bool,
    task: str | None = None,
    *,
    scored: bool = True,
) -> None:
    """Refuse, before the run, gates on a kind that is not scanned or on missing labels.

    And, where the `task` is known, on a metric of another; and, of a model that returns labels
    and is not `scored`, on one of scores.
    """
    known = tuple(kinds)
    for gate in gates:
        if gate.kind not in known:
            names = [f"{kind}.{gate.metric}" for kind in known]
            raise InputError(
                f"The gate {gate.expression!r} is on {gate.kind!r}, which is not scanned.",
                tip=f"The nearest names are {_nearest(gate.name, names)}.",
            )
        _check_kind(gate, known)
        if task is not None:
            _check_task(gate, task)
        if needs_labels(gate.metric) and not labelled:
            truth = TASKS[task or task_of_metric(gate.metric)].truth
            raise InputError(
                f"The gate {gate.expression!r} needs {truth.many}, and the images have none.",
                tip=truth.tip,
            )
        if not scored and metric_info(gate.metric).needs_scores:
            raise InputError(
                f"The gate {gate.expression!r} needs scores, and the model returns labels.",
                tip="Gate on consistency or agreement, or export the model without its argmax.",
            )


def _check_kind(gate: Gate, scanned: Sequence[str]) -> None:
    own = metric_info(gate.metric).kinds
    if own and gate.kind not in own:
        near = [f"{kind}.{gate.metric}" for kind in own if kind in scanned]
        also = [f"{gate.kind}.{info.name}" for info in METRICS.values() if gate.kind in info.kinds]
        raise InputError(
            f"The gate {gate.expression!r} is on {gate.metric}, which {gate.kind} shifts do not "
            "have.",
            tip=f"The nearest names are {', '.join([*near, *also])}.",
        )


def _check_task(gate: Gate, task: str) -> None:
    own = TASKS[task].metrics
    if gate.metric not in {info.name for info in own}:
        fitting = [
            f"{gate.kind}.{info.name}" for info in own if not info.kinds or gate.kind in info.kinds
        ]
        raise InputError(
            f"The gate {gate.expression!r} is on a metric of {task_of_metric(gate.metric)}, and "
            f"the model's task is {task}.",
            tip=f"There are {', '.join(fitting)}.",
        )
