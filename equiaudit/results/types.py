"""The result of a scan as frozen pydantic models; `result.json` is `Result` dumped.

Everything that may differ between two equal runs (times, batch size, workers) lives in
`Result.timings`; the rest is a function of the fingerprint.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from equiaudit.errors import InputError
from equiaudit.results.base import Estimate, Frozen, Skipped
from equiaudit.results.boxes import BoxExample, BoxShift
from equiaudit.results.dense import DenseExample, DenseShift, ReceptiveField
from equiaudit.results.notebook import Plotted
from equiaudit.results.sequences import SequenceShift

__all__ = [
    "SCHEMA_VERSION",
    "BackendTrial",
    "BaselineFigures",
    "BoundaryPart",
    "CausePoint",
    "ClassDecisions",
    "DistancePoint",
    "Drop",
    "Estimate",
    "Fingerprint",
    "GateVerdict",
    "GridMap",
    "PartFigures",
    "Result",
    "ShiftResult",
    "Skipped",
    "Timings",
    "WorstImage",
    "load_result",
    "unknown_metric",
]

SCHEMA_VERSION = 1
_DEEPEST = 60  # levels; a result has fewer than 20


class GridMap(Frozen):
    """Counts over (dy, dx): `agree[i][j]` of `total[i][j]` predictions kept the label.

    `rows` are the dy and `cols` the dx of the cells, in px, fractions of a pixel for kinds that
    move by them; `total` is 0 where no offset was tried.
    """

    rows: tuple[int | float, ...]
    cols: tuple[int | float, ...]
    agree: tuple[tuple[int, ...], ...]
    total: tuple[tuple[int, ...], ...]

    @model_validator(mode="after")
    def _counts_fit(self) -> GridMap:
        """Both tables have the shape of the axes, and 0 <= agree <= total."""
        shape = [len(self.cols)] * len(self.rows)
        if [len(row) for row in self.agree] != shape or [len(row) for row in self.total] != shape:
            raise ValueError("agree and total need one row per dy and one column per dx")
        pairs = zip(chain(*self.agree), chain(*self.total), strict=True)
        if not all(0 <= agree <= total for agree, total in pairs):
            raise ValueError("agree must lie between 0 and total")
        return self


class DistancePoint(Frozen):
    """Agreement at one distance max(|dy|, |dx|), in px."""

    distance: int | float
    agreement: Estimate


class PartFigures(Frozen):
    """One of the numbers or maps that a model returns together, by itself."""

    name: str
    """"output 3", or what the labels call it."""
    metrics: dict[str, Estimate]


class ClassDecisions(Frozen):
    """One class of several that an image may have: how steadily it is decided for."""

    index: int
    name: str | None = None
    decided: int
    """Unshifted images that it is decided for."""
    true: int | None = None
    """Images that have it, where that is known."""
    consistency: Estimate
    """The chance that two random shifts agree on it."""
    agreement: Estimate
    """The share of shifts that keep the unshifted decision."""
    f1_clean: Estimate | None = None
    f1_shifted: Estimate | None = None


class ShiftResult(Frozen):
    """All that was measured under one shift kind (or one named protocol)."""

    kind: str
    metrics: dict[str, Estimate]
    agreement_map: GridMap | None = None
    phase_map: GridMap | None = None
    """Agreement by (dy mod S, dx mod S); None where the total stride S is unknown."""
    by_distance: tuple[DistancePoint, ...] = ()
    dense: DenseShift | None = None
    """Where the output is a map."""
    boxes: BoxShift | None = None
    """Where the output is boxes."""
    sequences: SequenceShift | None = None
    """Where windows slide over one defect."""
    parts: tuple[PartFigures, ...] = ()
    """Of several numbers or heat maps per image, those that change most."""
    classes: tuple[ClassDecisions, ...] = ()
    """Where images have several labels; the least consistent first."""
    nonfinite: tuple[str, ...] = ()
    """Files left out because some output was NaN or infinite."""
    notes: tuple[str, ...] = ()


class CausePoint(Frozen):
    """A cause's share at distances from `nearest` to `furthest`, px."""

    nearest: int
    furthest: int
    estimate: Estimate


class BoundaryPart(Frozen):
    """One cause's share of the label changes; `estimate` is None when `reason` says why not.

    name is the kind of shift and the cause: "crop: border", "crop: sampling",
    "circular: seam and padding", "circular: sampling", "zero-pad: black".
    """

    name: str
    meaning: str
    estimate: Estimate | None = None
    reason: str | None = None
    remedy: str = ""
    """What to do about it."""
    by_distance: tuple[CausePoint, ...] = ()


class WorstImage(Frozen):
    """One of the least stable images; thumbnails are `data:` URIs (PNG), or None."""

    file: str
    kind: str
    label: int | None
    clean_label: int
    clean_confidence: float | None
    """None where the model returns labels without scores."""
    flipped_label: int
    offset: tuple[int | float, int | float]
    """The smallest tried shift (dy, dx) that changed the label."""
    agreement: float
    thumbnail_clean: str | None = None
    thumbnail_shifted: str | None = None


class GateVerdict(Frozen):
    """One gate, judged on the interval."""

    expression: str
    metric: str
    verdict: Literal["pass", "fail", "inconclusive", "not judged"]
    estimate: Estimate | None
    """The figure that was judged; of a drop, how much worse it got."""
    baseline: Estimate | None = None
    """Of a drop, the figure before."""
    current: Estimate | None = None
    """Of a drop, the figure now."""
    reason: str
    images_needed: int | None = None
    """About how many images would settle an inconclusive gate."""


class Drop(Frozen):
    """How much worse one ``kind.metric`` is than in a baseline; below 0 it is better."""

    before: Estimate
    drop: Estimate
    paired: bool
    """Over the same images; else from two intervals."""


class BaselineFigures(Frozen):
    """What verdicts on a drop need of the baseline, so that they outlive its files."""

    model: str
    model_sha256: str
    drops: dict[str, Drop]
    """By ``kind.metric``, those that some gate has asked for."""


class Fingerprint(Frozen):
    """What the numbers depend on; two results compare only where these say they may."""

    model: str
    model_sha256: str
    model_kind: str
    data_sha256: str
    n_images: int
    preprocess: dict[str, Any]
    """Settings of `models.Preprocess`, and under "source" where each came from."""
    plan: dict[str, Any]
    """kinds, range, offsets, seed, window, stride, protocol, and how offsets are drawn."""
    plan_hash: str
    task: str
    backend: str
    dtype: str
    device: str
    detector: dict[str, Any] = Field(default_factory=dict)
    """How boxes were made of the outputs, by the keys of a `[detector]` table."""
    trusted: bool = False


class BackendTrial(Frozen):
    """One way to run the model that was tried, or why it was not taken."""

    backend: str
    batch_size: int
    milliseconds: float | None = None
    """Per image."""
    error: float | None = None
    """Largest difference from the model as it is, over the range of its outputs."""
    reason: str = ""
    """Why it was left out; empty for a way that was fit."""


class Timings(Frozen):
    """How the run went; the only part that may differ between equal runs."""

    started: str
    seconds: float
    passes: int
    """Images that went through the model."""
    seconds_by_stage: dict[str, float] = Field(default_factory=dict)
    batch_size: int = 0
    workers: int = 0
    resumed: bool = False
    machine: str = ""
    trials: tuple[BackendTrial, ...] = ()
    """What `--backend auto` tried."""


class Result(Plotted, Frozen):
    """One scan."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    settings: dict[str, Any]
    fingerprint: Fingerprint
    layout: str = ""
    """How the data were laid out, a name that `--layout` takes."""
    labelled: bool
    class_names: dict[int, str] = Field(default_factory=dict)
    shifts: dict[str, ShiftResult]
    boundary: tuple[BoundaryPart, ...] = ()
    worst: tuple[WorstImage, ...] = ()
    examples: tuple[DenseExample, ...] = ()
    """The least stable images where the output is a map; `worst` is empty then."""
    box_examples: tuple[BoxExample, ...] = ()
    """The least stable images where the output is boxes."""
    receptive_field: ReceptiveField | None = None
    """Where the output is a map."""
    unreadable: tuple[Skipped, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    """Why the figures say little; shown first."""
    notes: tuple[str, ...] = ()
    gates: tuple[GateVerdict, ...] = ()
    baseline: BaselineFigures | None = None
    """Where the result was held against one."""
    timings: Timings

    def metric(self, name: str) -> Estimate:
        """The estimate called ``<kind>.<metric>``, e.g. ``circular.consistency``.

        Raises InputError naming the nearest names when there is none.
        """
        kind, _, metric = name.partition(".")
        try:
            return self.shifts[kind].metrics[metric]
        except KeyError:
            raise unknown_metric(name, self.metric_names()) from None

    def metric_names(self) -> tuple[str, ...]:
        """Every name `metric` answers to."""
        return tuple(f"{k}.{m}" for k, shift in self.shifts.items() for m in shift.metrics)


def unknown_metric(name: str, known: tuple[str, ...]) -> InputError:
    """The error for a metric name that is not one of `known`."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.3) or list(known[:3])
    return InputError(f"There is no metric {name!r}.", tip=f"The nearest are {', '.join(near)}.")


def _depth(data: object) -> int:
    """How many containers hold one another, level by level."""
    depth, level = 0, [data]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [i for held in level for i in (held.values() if isinstance(held, dict) else held)]
    return depth


def load_result(path: str | Path) -> Result:
    """Read a `result.json`; InputError says what is wrong with a file that is not one."""
    path = Path(path)
    if path.is_dir():
        path = path / "result.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no result at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a result.json: {error}.") from None
    if _depth(data) > _DEEPEST:
        raise InputError(f"{path} is not a result.json: it nests deeper than {_DEEPEST}.")
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, and this version reads {SCHEMA_VERSION}.",
            tip="Scan again with this version, or read it with the one that wrote it.",
        )
    try:
        return Result.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is not a valid result: {where}: {first['msg']}.") from None
