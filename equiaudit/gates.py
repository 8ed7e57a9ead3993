"""Gates: what a result must meet, judged on its intervals.

    circular.consistency>=0.95          a metric of a shift kind against a threshold
    crop.accuracy_worst >= 60%          the same in percent
    zero-pad.consistency drop<=0.01     how much worse than the baseline it may be

A gate passes when the whole interval meets it, fails when none of it does, and is inconclusive
otherwise.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from equiaudit.comparison import comparable, difference_of
from equiaudit.errors import InputError
from equiaudit.report import figures
from equiaudit.results import Estimate, GateVerdict, Result
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
_SIGNIFICANT = 2

Verdict = Literal["pass", "fail", "inconclusive", "not judged"]


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
    gates: Sequence[Gate], kinds: Iterable[str], labelled: bool, task: str | None = None
) -> None:
    """Refuse, before the run, gates on a kind that is not scanned or on missing labels.

    And, where the `task` is known, on a metric of another.
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


def judge(
    result: Result,
    gates: Sequence[Gate],
    baseline: Result | None = None,
    paired: Mapping[str, Estimate] | None = None,
) -> tuple[GateVerdict, ...]:
    """One verdict per gate, in order.

    `paired` holds, by ``kind.metric``, the paired difference current less baseline (see
    `comparison.paired_differences`); drops that are not in it are taken from both intervals,
    and the reason says which. A drop without a baseline is "not judged": a first run is no
    error. InputError if a gate names what the result does not have, or if the baseline cannot
    be compared with it.
    """
    if baseline is not None and any(gate.drop for gate in gates):
        comparable(baseline, result)
    return tuple(
        _judge_drop(gate, result, baseline, paired or {})
        if gate.drop
        else _verdict(gate, result.metric(gate.name))
        for gate in gates
    )


def _judge_drop(
    gate: Gate, result: Result, baseline: Result | None, paired: Mapping[str, Estimate]
) -> GateVerdict:
    current = result.metric(gate.name)
    before = _baseline_metric(gate, baseline)
    if before is None:
        lacking = "there is no baseline yet; this result can serve as one"
        if baseline is not None:
            lacking = f"the baseline has no {gate.name}"
        return _said(gate, "not judged", None, lacking)
    is_paired = gate.name in paired
    change = paired[gate.name] if is_paired else difference_of(before, current)
    drop = _negated(change) if metric_info(gate.metric).higher_is_better else change
    basis = "paired by image" if is_paired else "from both intervals, not paired by image"
    return _verdict(gate, drop, before, basis)


def _baseline_metric(gate: Gate, baseline: Result | None) -> Estimate | None:
    shift = baseline.shifts.get(gate.kind) if baseline else None
    return shift.metrics.get(gate.metric) if shift else None


def _negated(change: Estimate) -> Estimate:
    def less(end: float | None) -> float | None:
        return None if end is None else -end

    ends = {"value": less(change.value), "low": less(change.high), "high": less(change.low)}
    return change.model_copy(update=ends)


def _verdict(
    gate: Gate, estimate: Estimate, baseline: Estimate | None = None, basis: str = ""
) -> GateVerdict:
    if estimate.value is None:
        return _said(gate, "inconclusive", estimate, "there was nothing to average", baseline)
    if estimate.low is None or estimate.high is None:
        verdict, reason = _by_value(gate, estimate.value)
    else:
        verdict, reason = _by_interval(gate, estimate.low, estimate.high)
    needed = _images_needed(gate, estimate) if verdict == "inconclusive" else None
    if basis:
        reason = f"{reason} ({basis})"
    return _said(gate, verdict, estimate, reason, baseline, needed)


def _by_value(gate: Gate, value: float) -> tuple[Verdict, str]:
    said = f"judged on the value alone, for it has no interval: {_compared(gate, value)}"
    return ("pass" if gate.meets(value) else "fail"), said


def _by_interval(gate: Gate, low: float, high: float) -> tuple[Verdict, str]:
    conservative, optimistic = (low, high) if gate.op.startswith(">") else (high, low)
    names = ("lower", "upper") if gate.op.startswith(">") else ("upper", "lower")
    if gate.meets(conservative):
        return "pass", f"the {names[0]} bound meets it: {_compared(gate, conservative)}"
    if not gate.meets(optimistic):
        return "fail", f"even the {names[1]} bound does not meet it: {_compared(gate, optimistic)}"
    return "inconclusive", f"the interval {_ends(gate, low, high)} reaches to both sides of it"


def _compared(gate: Gate, figure: float) -> str:
    """``92.73% >= 90%``, with `<` for a figure on the failing side."""
    opposite = {">=": "<", ">": "<=", "<=": ">", "<": ">="}
    sign = gate.op if gate.meets(figure) else opposite[gate.op]
    info = metric_info(gate.metric)
    return f"{figures.exact(figure, info)} {sign} {figures.exact(gate.threshold, info)}"


def _ends(gate: Gate, low: float, high: float) -> str:
    info = metric_info(gate.metric)
    return f"{figures.exact(low, info)} to {figures.exact(high, info)}"


def _images_needed(gate: Gate, estimate: Estimate) -> int | None:
    """About how many images bring the nearer bound to the threshold, to two digits."""
    from equiaudit.metrics.intervals import images_needed  # scipy; only when a gate is open

    needed = images_needed(estimate, gate.threshold)
    return None if needed is None else _rounded_up(needed)


def _rounded_up(number: float) -> int:
    """`number` rounded up to two significant digits."""
    digits = math.floor(math.log10(number)) + 1
    step: int = 10 ** max(digits - _SIGNIFICANT, 0)
    return math.ceil(number / step) * step


def _said(
    gate: Gate,
    verdict: Verdict,
    estimate: Estimate | None,
    reason: str,
    baseline: Estimate | None = None,
    images_needed: int | None = None,
) -> GateVerdict:
    return GateVerdict(
        expression=gate.expression,
        metric=gate.name,
        verdict=verdict,
        estimate=estimate,
        baseline=baseline,
        reason=reason,
        images_needed=images_needed,
    )


def exit_code(verdicts: Iterable[GateVerdict], strict: bool = False) -> int:
    """1 if any gate failed, else 4 if `strict` and any is inconclusive, else 0."""
    found = {verdict.verdict for verdict in verdicts}
    if "fail" in found:
        return 1
    return 4 if strict and "inconclusive" in found else 0
