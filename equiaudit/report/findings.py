"""The finding of each shift kind: how much it changes, as a sentence and as a figure."""

from __future__ import annotations

from dataclasses import dataclass

from equiaudit.errors import InputError
from equiaudit.kinds import KINDS, is_real
from equiaudit.report import figures, plans
from equiaudit.report.escape import visible
from equiaudit.results import Estimate, MetricInfo, Result, ShiftResult
from equiaudit.tasks import METRICS, of_result
from equiaudit.tasks.base import Measure


@dataclass(frozen=True)
class Finding:
    """One shift kind's finding: how much changes, in figures and in words."""

    kind: str
    sentence: str
    share: str
    of_what: str
    """What the figure is a share of, or its name: "of labels change", "NMSE"."""
    evidence: str
    title: str = ""
    """The kind and what it stands for: "crop, what a moving camera does"."""


def findings(result: Result) -> tuple[Finding, ...]:
    """How much each shift kind changes, for those that measured it; real moves first."""
    found = [finding for _, finding in _scored(result)]
    return tuple(sorted(found, key=lambda each: not is_real(each.kind)))


def changed_kinds(result: Result) -> tuple[str, ...]:
    """The kinds of shift that changed something."""
    shifts = [shift for shift in result.shifts.values() if _measured(result, shift)]
    return tuple(shift.kind for shift in shifts if _changed(result, shift))


def _changed(result: Result, shift: ShiftResult) -> bool:
    """By the finding, or by what causes are counted in: no object lost, but some pixel."""
    found = _measured(result, shift)
    each = (found and found[1], shift.metrics.get(of_result(result).change))
    return any(e is not None and (e.value or 0.0) > 0 for e in each)


def headline(result: Result) -> str:
    """The finding of real moves, else of the kind that changes most, or what was measured."""
    scored = _scored(result)
    if not scored:
        return f"{result.fingerprint.n_images:,} images were scanned; no output could be compared"
    finding = max(scored, key=lambda pair: (is_real(pair[1].kind), pair[0]))[1]
    return finding.sentence if len(scored) == 1 else f"{finding.sentence} ({finding.kind})"


def _scored(result: Result) -> list[tuple[float, Finding]]:
    """How much changes, and the finding that says so, by shift kind."""
    found = ((shift, _measured(result, shift)) for shift in result.shifts.values())
    return [
        (float(pair[1]), _finding(result, *pair, shift))
        for shift, pair in found
        if pair is not None
    ]


def subject(result: Result) -> str:
    """What a shift changes, as in "what changes the label"."""
    return of_result(result).subject


def change_info(result: Result) -> MetricInfo:
    """The metric that causes and profiles are in the unit of."""
    return METRICS[of_result(result).change]


def _measured(result: Result, shift: ShiftResult) -> tuple[Measure, Estimate] | None:
    """The first measure that the shift kind has a figure of, and what changes by it."""
    for measure in of_result(result).measures:
        found = shift.metrics.get(measure.metric)
        if found is not None and found.value is not None:
            return measure, complement(found) if measure.kept else found
    return None


def leading_metric(result: Result, kind: str) -> str:
    """Consistency of labels, else the metric that the finding of a kind is about.

    InputError where there is neither.
    """
    shift = result.shifts.get(kind)
    if shift and "consistency" in shift.metrics:
        return "consistency"
    found = _measured(result, shift) if shift else None
    if found is None:
        raise InputError(f"Under {visible(kind)} nothing was measured that a model is judged by.")
    return found[0].metric


def sampled(result: Result) -> str:
    """What intervals are over, in words: "images", "sequences"."""
    return " and ".join(sorted({f"{unit(result, each)}s" for each in result.shifts.values()}))


def unit(result: Result, shift: ShiftResult) -> str:
    """What the figures of a kind are over: "image", or "sequence"."""
    found = _measured(result, shift)
    return found[0].unit if found is not None else "image"


def _finding(result: Result, measure: Measure, change: Estimate, shift: ShiftResult) -> Finding:
    info = change_info(result) if measure.kept else METRICS[measure.metric]
    return Finding(
        kind=visible(shift.kind),
        sentence=measure.sentence(
            change.value or 0.0, plans.moved(result.fingerprint.plan, shift.kind)
        ),
        share=figures.value(change, info),
        of_what=measure.of_what,
        evidence=figures.evidence(change, info, measure.unit) + _also(measure, shift),
        title=visible(shift.kind) + _role(shift.kind),
    )


def _role(kind: str) -> str:
    role = KINDS[kind].role if kind in KINDS else ""
    return f", {role}" if role else ""


def _also(measure: Measure, shift: ShiftResult) -> str:
    """What a single figure would hide: how much is struck at all, where shifts are counted."""
    said = ((shift.metrics.get(metric), metric, words) for metric, words in measure.also)
    return "".join(
        f"; {figures.value(found, METRICS[metric])} {words}"
        for found, metric, words in said
        if found is not None and found.value
    )


def complement(agreement: Estimate) -> Estimate:
    """1 less a share, its interval turned round."""

    def less(end: float | None) -> float | None:
        return None if end is None else max(0.0, 1 - end)

    ends = {"value": less(agreement.value), "low": less(agreement.high)}
    return agreement.model_copy(update=ends | {"high": less(agreement.low)})
