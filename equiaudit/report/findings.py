"""The finding of each shift kind: how much it changes, as a sentence and as a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equiaudit.report import figures, plans
from equiaudit.report.escape import visible
from equiaudit.results import METRICS, Estimate, MetricInfo, Result, ShiftResult

__all__ = ["Finding", "change_info", "findings", "headline", "subject"]

Sentence = Callable[[float, str], str]


@dataclass(frozen=True)
class Finding:
    """One shift kind's finding: how much changes, in figures and in words."""

    kind: str
    sentence: str
    share: str
    of_what: str
    """What the figure is a share of, or its name: "of labels change", "NMSE"."""
    evidence: str


@dataclass(frozen=True)
class _Measure:
    """The metric that a finding is about, and how it is said."""

    metric: str
    of_what: str
    sentence: Sentence
    kept: bool = False
    """The metric counts what stays, and the finding what changes."""
    unit: str = "image"

    def change(self, shift: ShiftResult) -> Estimate | None:
        estimate = shift.metrics.get(self.metric)
        if estimate is None or estimate.value is None:
            return None
        return _complement(estimate) if self.kept else estimate

    @property
    def info(self) -> MetricInfo:
        return METRICS["flipped"] if self.kept else METRICS[self.metric]


def _counted(noun: str, nothing: str) -> Sentence:
    """``1 image in 14 changes its label when moved by up to 16 px``."""

    def said(share: float, moved: str) -> str:
        if share <= 0:
            return f"{nothing} when {moved}"
        words, plural = figures.one_in(share, noun)
        verb = "change their label" if plural else "changes its label"
        return f"{words[0].upper()}{words[1:]} {verb} when {moved}"

    return said


def _lost(share: float, moved: str) -> str:
    where = "while the window slides 1 px a frame"
    if share <= 0:
        return f"No frame loses the defect {where}"
    words, plural = figures.one_in(share, "frame")
    verb = "lose" if plural else "loses"
    return f"{words[0].upper()}{words[1:]} {verb} the defect {where}"


def _squared(error: float, moved: str) -> str:
    if error <= 0:
        return f"The output moves with the image, and nothing else changes, when {moved}"
    return f"The output changes by {error:.2g} of its energy when {moved}"


_MEASURES = (
    _Measure(
        "agreement",
        "of labels change",
        _counted("image", "No image changes its label"),
        kept=True,
    ),
    _Measure("flip_rate", "of pixels change", _counted("pixel", "No pixel changes its label")),
    _Measure("lost_share", "of frames lose the defect", _lost, unit="sequence"),
    _Measure("nmse", "NMSE", _squared),
)

_SUBJECTS = {"segmentation": "a pixel's label", "image": "the output"}


def findings(result: Result) -> tuple[Finding, ...]:
    """How much each shift kind changes, for those that measured it."""
    found = (_finding(result, shift) for shift in result.shifts.values())
    return tuple(finding for finding in found if finding)


def headline(result: Result) -> str:
    """The finding of the kind that changes most, or what was measured instead."""
    scored = [
        (change.value, _finding(result, shift))
        for shift in result.shifts.values()
        if (change := _change(shift)) and change.value is not None
    ]
    if not scored:
        return f"{result.fingerprint.n_images:,} images were scanned; no output could be compared"
    finding = max(scored, key=lambda pair: pair[0])[1]
    if finding is None or len(scored) == 1:
        return finding.sentence if finding else ""
    return f"{finding.sentence} ({finding.kind})"


def subject(result: Result) -> str:
    """What a shift changes, as in "what changes the label"."""
    return _SUBJECTS.get(result.fingerprint.task, "the label")


def change_info(result: Result) -> MetricInfo:
    """The metric that causes and profiles are in the unit of."""
    names = {"segmentation": "flip_rate", "image": "nmse"}
    return METRICS[names.get(result.fingerprint.task, "flipped")]


def _measure(shift: ShiftResult) -> _Measure | None:
    return next((m for m in _MEASURES if m.change(shift) is not None), None)


def _change(shift: ShiftResult) -> Estimate | None:
    measure = _measure(shift)
    return None if measure is None else measure.change(shift)


def _finding(result: Result, shift: ShiftResult) -> Finding | None:
    measure, change = _measure(shift), _change(shift)
    if measure is None or change is None:
        return None
    return Finding(
        kind=visible(shift.kind),
        sentence=measure.sentence(change.value or 0.0, plans.moved(result.fingerprint.plan)),
        share=figures.value(change, measure.info),
        of_what=measure.of_what,
        evidence=figures.evidence(change, measure.info, measure.unit),
    )


def _complement(agreement: Estimate) -> Estimate:
    """1 less a share, its interval turned round."""

    def less(end: float | None) -> float | None:
        return None if end is None else max(0.0, 1 - end)

    ends = {"value": less(agreement.value), "low": less(agreement.high)}
    return agreement.model_copy(update=ends | {"high": less(agreement.low)})
