"""What `inspect`, `verify` and `fix` found, as frozen pydantic models; no torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from equiaudit.results.base import Mismatch
from equiaudit.results.elsewhere import RuntimeComparison
from equiaudit.results.loss import Loss
from equiaudit.results.notebook import Shown, Written
from equiaudit.results.types import Estimate, Skipped

REPAIR_SCHEMA_VERSION = 1
TOLERANCE = 1e-6
"""Largest error, as a share of the output range, that still verifies."""
CRITERION = (
    "every output bit-equal, or the worst error under 1e-6 of the output range and no label changed"
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class OpRow(_Frozen):
    """One operation that samples, pads, pools or flattens, and what to do about it."""

    node: str
    where: str
    """Path of the module it came from, "" where that is not known."""
    op: str
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    """Top, bottom, left, right, px."""
    dilation: tuple[int, int] = (1, 1)
    uneven_padding: bool = False
    effect: str
    """What it does to equivariance, in words."""
    fixable: bool
    reason: str | None = None
    """Why it cannot be converted."""
    remedy: str | None = None
    """What would work instead."""


class Place(_Frozen):
    """How much of the error one operation is to blame for; None where it cannot be measured."""

    node: str
    name: str
    """Its module where that has no other such operation, else its node: what `--only` takes."""
    op: str
    effect: str
    depth: int
    """Its place among the operations, from the input on."""
    enters_whole: float | None
    """The change of its own output, over its norm, when that is to move by whole pixels."""
    enters_between: float | None
    """The same by half a pixel more, where it samples."""
    reaches: float | None
    """The change of the net's output by that alone, over its range, mean over both rolls."""
    at_depth: float | None
    """The change of its output when the image is rolled: all errors so far."""
    only: float | None = None
    """The change of the net's output when the image is rolled, after `fix` of this one alone."""
    up_to: float | None = None
    """The same after `fix` of all from the input to this one."""


class Located(_Frozen):
    """Which operations break equivariance, on some images; what reaches the output first."""

    images: tuple[str, ...]
    shifts: tuple[tuple[int, int], ...]
    """By which images were rolled, px."""
    unmodified: float
    """The change of the net's output by those, over its range, mean over images and shifts."""
    places: tuple[Place, ...]
    reason: str | None = None
    """Why nothing is known of a fix."""


class Inspection(Shown, _Frozen):
    """Every operation of a model that matters to shift equivariance."""

    schema_version: int = REPAIR_SCHEMA_VERSION
    tool_version: str
    model: str
    model_sha256: str
    route: str
    """How the graph was captured."""
    input_size: tuple[int, int]
    total_stride: tuple[int, int] | None
    """Cumulative stride (rows, columns) of the deepest map; None where a refusal hides it."""
    size_multiple: tuple[int, int] | None
    """Input heights and widths must be multiples of these."""
    sizes_near: tuple[tuple[int, int], ...] = ()
    """Fitting (H, W) next to `input_size`, where that does not fit."""
    dense: bool
    ops: tuple[OpRow, ...]
    refusals: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    located: Located | None = None
    """Where images were given."""

    @property
    def convertible(self) -> bool:
        """Whether `fix` with its default method converts the model."""
        return not self.refusals

    @property
    def needs_fixing(self) -> bool:
        """Whether some operation samples, pads, flattens or sums by position."""
        return bool(self.ops)


class ShiftErrors(_Frozen):
    """How far outputs of shifted images are from the outputs they should equal.

    A comparison is one image at one shift. Errors are absolute, and relative to the range
    (largest less smallest value) of the image's unshifted output.
    """

    comparisons: int
    comparisons_exact: int
    """Comparisons whose outputs agree to the last bit."""
    values: int
    values_exact: int
    """Single output values that agree to the last bit."""
    worst_absolute: float
    worst_relative: float
    worst_at: Mismatch | None
    labels: int
    label_changes: int

    @property
    def exact(self) -> bool:
        """Every output is bit-equal."""
        return self.comparisons > 0 and self.comparisons_exact == self.comparisons

    @property
    def passed(self) -> bool:
        """`CRITERION` is met."""
        small = math.isfinite(self.worst_relative) and self.worst_relative < TOLERANCE
        return self.exact or (self.comparisons > 0 and small and self.label_changes == 0)

    @property
    def share_exact(self) -> float | None:
        """Share of comparisons with all bits equal."""
        return self.comparisons_exact / self.comparisons if self.comparisons else None

    @property
    def share_values_exact(self) -> float | None:
        """Share of output values with all bits equal."""
        return self.values_exact / self.values if self.values else None


class Borders(_Frozen):
    """Whether the images had a border to be cut at."""

    both: int
    """Images with one between rows and one between columns."""
    rows_only: int
    columns_only: int
    neither: int
    """Periodic, plain or closed images, where any position does."""
    without: tuple[str, ...] = ()
    """Names of the images that lack one or both."""

    @property
    def images(self) -> int:
        """How many were looked at."""
        return self.both + self.rows_only + self.columns_only + self.neither


class Verification(Shown, _Frozen):
    """The record of one check that a model is exactly equivariant to circular shifts."""

    schema_version: int = REPAIR_SCHEMA_VERSION
    subject: str
    """What was checked: "converted graph", "saved file", or a model's name."""
    passed: bool
    shifts: Literal["circular", "crop"] = "circular"
    """"crop": content moved within a margin, where `phases` counts moves."""
    claimed: bool = True
    """Whether exactness is claimed, so that not to pass is a fault and not a measurement."""
    criterion: str = CRITERION
    figures: ShiftErrors
    control: ShiftErrors | None = None
    """The same for the unmodified model, which has to fail for a pass to mean something."""
    periodic: ShiftErrors | None = None
    """The same for dense outputs of images that equal a shift of themselves by a period that
    the stride does not divide: no choice of grid can be equivariant there."""
    periodic_images: tuple[str, ...] = ()
    total_stride: tuple[int, int]
    phases: int
    """Phases (dy mod S, dx mod S) other than (0, 0) that were compared."""
    phases_total: int
    coverage: str
    images: tuple[str, ...]
    borders: Borders | None = None
    """What was found where the images were cut, for a model that rolls its input."""
    smallest_margin: float | None = None
    """Smallest relative gap between the best and the second-best origin."""
    dense: bool
    dtype: str
    device: str
    torch_version: str
    threads: int
    settings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    """What the unmodified model does that speaks against how outputs are read, a clause each."""
    elsewhere: RuntimeComparison | None = None
    """The file beside itself in onnxruntime, where it ran in another runtime."""

    @property
    def control_failed(self) -> bool | None:
        """Whether the unmodified model fails the check; None where it was not run."""
        return None if self.control is None else not self.control.passed

    @property
    def broken(self) -> bool:
        """Exactness is claimed and was not found."""
        return self.claimed and not self.passed


class Claim(_Frozen):
    """What a method promises."""

    exact: bool
    """Whether it promises bit-equality, under the condition and to rounding; else its outputs
    only change less, and how much less is a measurement."""
    shifts: Literal["circular", "crop"]
    """The shifts that the promise, or the gain, is about."""
    condition: str
    """Where the promise holds, or why there is none: completes "exact ..." or "inexact: ..."."""
    training: str
    """What training it needs, in words; "none" for none."""
    needs_training: bool = False
    """Without training its outputs mean little."""


class Agreement(_Frozen):
    """How often a real shift keeps the choice of a crop, and what it does to labels."""

    shift: tuple[int, int]
    """Rows and columns, px; measured in this direction and in the one that mirrors it."""
    votes: int = 1
    bound: float
    """Share that keeps the choice by RICS's bound; of votes what any rule keeps at most."""
    expected: float  # the same for the landmark rule, places of landmarks being uniform
    same_choice: Estimate | None = None
    label_changes_before: Estimate | None = None
    label_changes_after: Estimate | None = None


class Candidate(_Frozen):
    """What one method does to the model, measured on the data; or why it does not fit."""

    method: str
    """"unmodified" for the model as it is."""
    claim: Claim | None = None
    reason: str | None = None
    """Why it was not measured, in a sentence; None where it was."""
    remedy: str | None = None
    metrics: dict[str, Estimate] = {}
    """``<kind>.<metric>``, of the same images and offsets for all candidates."""
    same_label: Estimate | None = None
    """Share of unshifted images that keep the label of the unmodified model."""
    slowdown: Estimate | None = None
    """Latency over that of the unmodified model, median of turns; `n` counts turns."""

    @property
    def measured(self) -> bool:
        """Whether it fits and was measured."""
        return self.reason is None


class Choice(_Frozen):
    """Which candidate a rule picks."""

    goal: Literal["circular", "crop"]
    rule: str
    """What was looked for, in words."""
    method: str | None
    """None where no candidate keeps the rule."""
    because: str
    """How the rule came to it, in a sentence."""


class TrainingStage(_Frozen):
    """One stage of training after the conversion."""

    name: str
    """"calibrate", "distil", "finetune"."""
    images: int
    epochs: int = 0
    seconds: float
    loss_before: float | None = None
    """On the held-out part."""
    loss_after: float | None = None
    accuracy_before: Estimate | None = None
    """On the held-out part, where it has labels."""
    accuracy_after: Estimate | None = None
    details: dict[str, str | int | float | bool | None] = {}
    """Learning rate, schedule, stopping epoch and the like, by name."""


class TrainingRecord(_Frozen):
    """How accuracy was won back between conversion and verification."""

    stages: tuple[TrainingStage, ...]
    seed: int
    device: str
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)


class Cost(_Frozen):
    """What a model costs to run and to keep."""

    latency_ms: float | None
    """Median time of one batch through the graph in torch, ms, measured in turns with the
    graph it is compared with."""
    batch_size: int
    threads: int
    device: str
    parameters: int
    bytes: int | None
    """Of the file."""


class FixReport(Written, _Frozen):
    """What `fix` planned, did, checked and wrote."""

    schema_version: int = REPAIR_SCHEMA_VERSION
    tool_version: str
    outcome: Literal["written", "unverified", "planned", "compared"]
    """"unverified": the file lies beside OUT as OUT.unverified; "planned": a dry run;
    "compared": methods were measured, and nothing was converted for good."""
    method: str
    """"none" where methods were compared and the rule picks none."""
    select: str | None = None
    """How origins are chosen, where the method has a choice."""
    claim: Claim | None = None
    left_out: tuple[str, ...] = ()
    """Ops that --only and --skip leave as they are, by module path."""
    rewrites: bool = True
    """Whether the method changes ops, or leaves the net as it is behind its input."""
    inspection: Inspection
    output: str | None = None
    """The file that was written."""
    output_sha256: str | None = None
    companions: tuple[str, ...] = ()
    """Files that belong with it."""
    reason: str | None = None
    """Which check failed, where the outcome is "unverified"; why the method does not fit, where
    it is "planned"."""
    verifications: tuple[Verification, ...] = ()
    """Before and after saving, one per device."""
    cost_before: Cost | None = None
    cost_after: Cost | None = None
    training: TrainingRecord | None = None
    input_size: tuple[int, int] | None = None
    """(H, W) that the fixed model takes, px."""
    agreement: tuple[Agreement, ...] = ()
    borders: Borders | None = None
    """What was found where the images of the data were cut, where the input is rolled."""
    candidates: tuple[Candidate, ...] = ()
    """All methods on the same images, the unmodified model first, where they were compared;
    for a dry run those there are, with no figures."""
    choice: Choice | None = None
    loss: Loss | None = None
    """What it costs on the unshifted images of the data; None where no image was looked at, or
    nothing says what a change of the output is worth."""
    images: int | None = None
    """How many images of the data were looked at; None without data."""
    before: dict[str, Estimate] = {}
    """``<kind>.<metric>`` of the unmodified model on the data, where data was given."""
    after: dict[str, Estimate] = {}
    notes: tuple[str, ...] = ()

    @property
    def slowdown(self) -> float | None:
        """Latency after over latency before."""
        if self.cost_before is None or self.cost_after is None:
            return None
        before, after = self.cost_before.latency_ms, self.cost_after.latency_ms
        return after / before if before and after else None
