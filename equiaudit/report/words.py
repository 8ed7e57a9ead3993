"""What a result says, in words and rows that every format shows in its own way."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from equiaudit.kinds import KINDS
from equiaudit.report import figures, plans
from equiaudit.report.escape import visible
from equiaudit.results import Estimate, GateVerdict, MetricInfo, Result, Skipped
from equiaudit.tasks import METRICS, of_result

_ABOUT_INTERVALS = (
    "Intervals",
    "95% intervals for the population the images were drawn from. The image is the sampling "
    "unit, since the shifts of one image are correlated: more images narrow an interval, "
    "more shifts of the same images hardly do.",
)
_ABOUT_JUDGING = (
    (
        "Protocols",
        "figures of different shift kinds or protocols measure different things and are never "
        "merged or ranked against each other.",
    ),
    (
        "Gates",
        "a gate passes when the whole interval meets it, fails when none of it does, and is "
        "inconclusive otherwise.",
    ),
)


@dataclass(frozen=True)
class MetricRow:
    """One metric over all shift kinds; None where a kind lacks it."""

    name: str
    info: MetricInfo
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class GateRow:
    """A gate as shown: its verdict in words and all that was said of it."""

    expression: str
    verdict: str
    measured: str
    """Empty where there was nothing to judge."""
    reason: str


def method_notes(result: Result) -> tuple[tuple[str, str], ...]:
    """What the terms of the report mean: (term, meaning)."""
    shown = (k for k in KINDS.values() if k.usual or k.name in result.shifts)
    kinds = "; ".join(f"{kind.name} {kind.about}" for kind in shown)
    own = of_result(result).about
    return (*own, _ABOUT_INTERVALS, ("Shift kinds", f"{kinds}."), *_ABOUT_JUDGING)


def metric_rows(result: Result) -> tuple[MetricRow, ...]:
    """One row per metric, in the order of the catalog; unknown ones last, as they come."""
    kinds = tuple(result.shifts.values())
    found = dict.fromkeys(name for shift in kinds for name in shift.metrics)
    names = [name for name in METRICS if name in found] + [n for n in found if n not in METRICS]
    return tuple(
        MetricRow(
            visible(name), figures.info_of(name), tuple(shift.metrics.get(name) for shift in kinds)
        )
        for name in names
    )


def gate_rows(result: Result) -> tuple[GateRow, ...]:
    """The gates in the order in which they were given."""
    return tuple(_gate_row(gate) for gate in result.gates)


def _gate_row(gate: GateVerdict) -> GateRow:
    needed = f"; about {gate.images_needed:,} images would tell" if gate.images_needed else ""
    measured = _measured(gate) if gate.estimate else ""
    reason = visible(gate.reason, longest=600) + needed
    return GateRow(visible(gate.expression), gate.verdict, measured, reason)


def _measured(gate: GateVerdict) -> str:
    """``93.1% [91.4, 94.6]``, of a drop ``95.5% -> 92.5%, 3.0 points worse [1.1, 4.9]``."""
    info = figures.info_of(gate.metric)
    if gate.baseline is None or gate.estimate is None:
        return figures.quantity(gate.estimate, info)
    return f"{figures.way(gate.baseline, gate.current, info)}, {figures.drop(gate.estimate, info)}"


def left_out(result: Result) -> Iterator[tuple[str, tuple[Skipped, ...]]]:
    """What is missing from the figures: a heading and the names with their reasons."""
    if result.unreadable:
        yield "Unreadable images", result.unreadable
    for shift in result.shifts.values():
        if shift.nonfinite:
            reason = "the output was NaN or infinite"
            named = tuple(Skipped(name=file, reason=reason) for file in shift.nonfinite)
            yield f"Non-finite outputs under {visible(shift.kind)}", named
    if result.skipped:
        yield "Not done", result.skipped


def warnings(result: Result) -> tuple[str, ...]:
    """The warnings, made visible."""
    return tuple(visible(warning, longest=600) for warning in result.warnings)


def notes(result: Result) -> tuple[str, ...]:
    """The notes of the run and of each shift kind, made visible."""
    of_kinds = (f"{shift.kind}: {note}" for shift in result.shifts.values() for note in shift.notes)
    return tuple(visible(note, longest=600) for note in (*result.notes, *of_kinds))


def label_name(result: Result, label: int | None) -> str:
    """The class name of a label, its number where there is no name."""
    return NO_LABEL if label is None else visible(result.class_names.get(label, str(label)))


_MODEL_FLAGS = (
    *("arch", "weights", "task", "threshold", "output_name", "output_layout", "input"),
    *("detector", "trust"),
)
_SHIFT_FLAGS = ("shifts", "max_shift", "offsets", "fraction", "resampler")
_FLAGS = (*_MODEL_FLAGS, *_SHIFT_FLAGS, "limit", "seed", "protocol")
NO_LABEL = figures.NOTHING


def plan_in_words(result: Result) -> str:
    """``circular, crop; up to 16 px; 48 offsets per image; seed 0``."""
    plan = result.fingerprint.plan
    furthest = plans.reach(plan)
    parts = [
        ", ".join(visible(kind) for kind in result.shifts),
        "" if furthest is None else f"up to {furthest} px",
        plans.offsets_in_words(plan),
        plans.steps_in_words(plan),
        f"seed {plan.get('seed')}",
    ]
    return visible("; ".join(part for part in parts if part), longest=400)


def reproduce(result: Result) -> str:
    """The command line that the settings amount to, quoted for a POSIX shell."""
    settings = _of_protocol(result) | _preprocess_flags(result.fingerprint.preprocess)
    flags = (part for name, value in settings.items() for part in _flag(name, value))
    words = ("equiaudit", "scan", result.fingerprint.model, "DATA", *flags)
    return " ".join(shlex.quote(visible(word, 400)) for word in words)


def _of_protocol(result: Result) -> dict[str, Any]:
    """The settings a scan takes as flags; most protocols settle the shifts by themselves."""
    settings = result.settings
    own = settings.get("protocol") and not result.fingerprint.plan.get("leaves_shifts")
    settled = _SHIFT_FLAGS if own else ()
    return {name: settings[name] for name in _FLAGS if name in settings and name not in settled}


def _preprocess_flags(preprocess: dict[str, Any]) -> dict[str, Any]:
    """What the command line had said of the preprocessing, by where each value came from."""
    source = preprocess.get("source")
    said = source if isinstance(source, dict) else {}
    return {
        name: "x".join(map(str, preprocess[name])) if name == "size" else preprocess[name]
        for name in ("size", "mean", "std")
        if name in preprocess and str(said.get(name, "")).startswith("flag")
    }


def _flag(name: str, value: object) -> Iterator[str]:
    if value is None:
        return
    if value is True:
        yield f"--{name.replace('_', '-')}"
        return
    if name == "input" and isinstance(value, (list, tuple)):
        for each in value:
            yield from ("--input", str(each))
        return
    joined = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    yield from (f"--{name.replace('_', '-')}", joined)


def settings_rows(result: Result) -> tuple[tuple[str, str], ...]:
    """What the numbers depend on, as (name, value) rows."""
    mark = result.fingerprint
    rows: dict[str, Any] = {
        "model": mark.model,
        "model SHA-256": mark.model_sha256,
        "model kind": mark.model_kind,
        "data SHA-256": mark.data_sha256,
        "images": f"{mark.n_images:,}",
        "labelled": result.labelled,
        "task": mark.task,
        **{f"plan: {name}": value for name, value in mark.plan.items()},
        "plan hash": mark.plan_hash,
        **_preprocess_rows(mark.preprocess),
        "backend": mark.backend,
        "dtype": mark.dtype,
        "device": mark.device,
        "code in the model file trusted": mark.trusted,
        **{f"setting: {name}": value for name, value in result.settings.items()},
        "tool version": result.tool_version,
    }
    return tuple((visible(name), visible(_shown(value), 300)) for name, value in rows.items())


def _preprocess_rows(preprocess: dict[str, Any]) -> dict[str, str]:
    source = preprocess.get("source")
    origin = source if isinstance(source, dict) else {}
    return {
        f"preprocessing: {name}": _shown(value) + (f" ({origin[name]})" if name in origin else "")
        for name, value in preprocess.items()
        if name != "source"
    }


def _shown(value: object) -> str:
    if value is None:
        return NO_LABEL
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item) for item in value)
    return str(value)
