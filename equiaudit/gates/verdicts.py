"""The verdict on each gate, and the figures of a baseline that it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from equiaudit.comparison import comparable, difference_of
from equiaudit.gates.grammar import Gate
from equiaudit.report import figures
from equiaudit.results import Estimate, GateVerdict, MetricInfo, Result
from equiaudit.results.types import BaselineFigures, Drop
from equiaudit.tasks import metric_info

if TYPE_CHECKING:
    from equiaudit.metrics.forecast import Bounds

Verdict = Literal["pass", "fail", "inconclusive", "not judged"]

_SIGNIFICANT = 2
_PAIRED, _UNPAIRED = "paired by image", "from both intervals, not paired by image"


def judged_against(
    result: Result,
    gates: Sequence[Gate],
    baseline: Result,
    paired: Mapping[str, Estimate] | None = None,
) -> BaselineFigures:
    """What verdicts on a drop need of `baseline`, to be kept in the result.

    `paired` holds, by ``kind.metric``, the paired difference current less baseline (see
    `comparison.paired_differences`); other drops are taken from both intervals. Where they were
    paired before, against this same baseline, they stay so: files that are gone since do not
    make a verdict less certain. InputError if the baseline cannot be compared with the result.
    """
    comparable(baseline, result)
    mark, kept = baseline.fingerprint, result.baseline
    same = kept is not None and kept.model_sha256 == mark.model_sha256
    earlier = kept.drops if kept is not None and same else {}
    names = [gate.name for gate in gates if gate.drop]
    drops = {name: _drop(name, result, baseline, paired or {}) for name in names}
    for name, drop in earlier.items():
        now = drops.get(name)
        if now is None or (drop.paired and not now.paired and drop.before == now.before):
            drops[name] = drop
    return BaselineFigures(model=mark.model, model_sha256=mark.model_sha256, drops=drops)


def _drop(name: str, result: Result, baseline: Result, paired: Mapping[str, Estimate]) -> Drop:
    before, after = baseline.metric(name), result.metric(name)
    is_paired = name in paired
    change = paired[name] if is_paired else difference_of(before, after)
    drop = _negated(change) if metric_info(name.rpartition(".")[2]).higher_is_better else change
    return Drop(before=before, drop=drop, paired=is_paired)


def _negated(change: Estimate) -> Estimate:
    def less(end: float | None) -> float | None:
        return None if end is None else -end

    ends = {"value": less(change.value), "low": less(change.high), "high": less(change.low)}
    return change.model_copy(update=ends)


def judge(
    result: Result,
    gates: Sequence[Gate],
    forecasts: Mapping[str, Bounds] | None = None,
) -> tuple[GateVerdict, ...]:
    """One verdict per gate, in order.

    A drop is judged by the figures of a baseline that `result` keeps (see `judged_against`), and
    is "not judged" where it keeps none: a first run is no error. `forecasts` holds by
    ``kind.metric`` the interval that a paired difference would have of any number of images.
    InputError if a gate names what the result does not have.
    """
    return tuple(
        _judge_drop(gate, result, forecasts or {})
        if gate.drop
        else _verdict(gate, result.metric(gate.name))
        for gate in gates
    )


def _judge_drop(gate: Gate, result: Result, forecasts: Mapping[str, Bounds]) -> GateVerdict:
    current = result.metric(gate.name)
    found = None if result.baseline is None else result.baseline.drops.get(gate.name)
    if found is None:
        lacking = "there is no baseline yet; this result can serve as one"
        return _said(gate, "not judged", None, lacking)
    judged = _verdict(gate, found.drop)
    needed = None
    if judged.verdict == "inconclusive":
        needed = _images_for_drop(gate, found, result, forecasts.get(gate.name))
    update = {
        "baseline": found.before,
        "current": current,
        "reason": f"{judged.reason} ({_PAIRED if found.paired else _UNPAIRED})",
        "images_needed": needed,
    }
    return judged.model_copy(update=update)


def _images_for_drop(gate: Gate, found: Drop, result: Result, law: Bounds | None) -> int | None:
    """By the law of the pairs; where those are gone, what the same gate was told before."""
    if not found.paired:
        from equiaudit.metrics.forecast import difference_bounds  # scipy

        before, after = found.before, result.metric(gate.name)
        worse = (after, before) if metric_info(gate.metric).higher_is_better else (before, after)
        return _images_needed(gate, found.drop, difference_bounds(*worse))
    if law is not None:
        return _images_needed(gate, found.drop, _of_drop(gate, law))
    same = (one for one in result.gates if one.expression == gate.expression)
    return next((one.images_needed for one in same), None)


def _of_drop(gate: Gate, change: Bounds | None) -> Bounds | None:
    """The law of the drop from that of the difference, current less baseline."""
    if change is None or not metric_info(gate.metric).higher_is_better:
        return change

    def bounds(images: float) -> tuple[float, float]:
        low, high = change(images)
        return -high, -low

    return bounds


def _verdict(gate: Gate, estimate: Estimate) -> GateVerdict:
    if estimate.value is None:
        return _said(gate, "inconclusive", estimate, "there was nothing to average")
    if estimate.low is None or estimate.high is None:
        return _said(gate, *_by_value(gate, estimate.value, estimate))
    verdict, reason = _by_interval(gate, estimate.low, estimate.high)
    needed = _images_needed(gate, estimate) if verdict == "inconclusive" and not gate.drop else None
    return _said(gate, verdict, estimate, reason, needed)


def _by_value(gate: Gate, value: float, estimate: Estimate) -> tuple[Verdict, Estimate, str]:
    said = f"judged on the value alone, for it has no interval: {_compared(gate, value)}"
    return ("pass" if gate.meets(value) else "fail"), estimate, said


def _by_interval(gate: Gate, low: float, high: float) -> tuple[Verdict, str]:
    conservative, optimistic = (low, high) if gate.op.startswith(">") else (high, low)
    names = ("lower", "upper") if gate.op.startswith(">") else ("upper", "lower")
    if gate.meets(conservative):
        return "pass", f"the {names[0]} bound meets it: {_compared(gate, conservative)}"
    if not gate.meets(optimistic):
        return "fail", f"even the {names[1]} bound does not meet it: {_compared(gate, optimistic)}"
    return "inconclusive", f"cannot tell yet: {_asked(gate)} lies within the interval"


def _compared(gate: Gate, figure: float) -> str:
    """``92.73% >= 90%``, with `<` for a figure on the failing side."""
    opposite = {">=": "<", ">": "<=", "<=": ">", "<": ">="}
    sign = gate.op if gate.meets(figure) else opposite[gate.op]
    return f"{figures.near(figure, gate.threshold, _info(gate))} {sign} {_asked(gate)}"


def _asked(gate: Gate) -> str:
    """The threshold; of a drop of shares in points."""
    return figures.exact(gate.threshold, _info(gate))


def _info(gate: Gate) -> MetricInfo:
    return figures.in_points(metric_info(gate.metric)) if gate.drop else metric_info(gate.metric)


def _images_needed(gate: Gate, estimate: Estimate, law: Bounds | None = None) -> int | None:
    """About how many images bring the nearer bound to the threshold, to two digits."""
    from equiaudit.metrics.forecast import images_needed  # scipy; only when a gate is open

    needed = images_needed(estimate, gate.threshold, law)
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
    images_needed: int | None = None,
) -> GateVerdict:
    return GateVerdict(
        expression=gate.expression,
        metric=gate.name,
        verdict=verdict,
        estimate=estimate,
        reason=reason,
        images_needed=images_needed,
    )


def exit_code(verdicts: Iterable[GateVerdict], strict: bool = False) -> int:
    """1 if any gate failed, else 4 if `strict` and any is inconclusive, else 0."""
    found = {verdict.verdict for verdict in verdicts}
    if "fail" in found:
        return 1
    return 4 if strict and "inconclusive" in found else 0
