"""The options of `scan` and `fix` in typed groups, as Python names them; each key is optional.

What is left out has the default of `Settings`, or of `equiaudit.repair.options.FixOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

T = TypeVar("T")


class ShiftSettings(TypedDict, total=False):
    """Which shifts of which images."""

    limit: int | None
    max_shift: int
    offsets: int | Literal["full"]
    seed: int


class AuditSettings(ShiftSettings, total=False):
    """How a scan runs, ends, is judged and kept."""

    shifts: Sequence[str]
    fraction: int
    resampler: str
    protocol: str | None
    output_range: tuple[float, float] | None
    batch_size: int | Literal["auto"]
    workers: int | Literal["auto"]
    engine: Literal["local", "ray"]
    address: str
    resume: bool
    accuracy_check: bool
    gates: Sequence[str]
    baseline: str | Path | None
    require_baseline: bool
    early_stop: bool
    precision: float | None
    strict: bool
    output: str | Path | None
    images: bool


class MethodSettings(TypedDict, total=False):
    """By which method a net is converted, and its own settings."""

    method: str | None
    select: Literal["features", "input"]
    only: str | Sequence[str] | None
    skip: str | Sequence[str] | None
    margin: int
    positions: Mapping[str, str] | None
    window: int | Literal["auto"] | None
    pad: Literal["wrap", "slices"]
    seconds: float
    dry_run: bool


class TrainingSettings(TypedDict, total=False):
    """Training between conversion and verification."""

    calibrate: bool
    distil: int
    finetune: int
    learning_rate: float | None
    train_data: str | Path | None
    train_limit: int | None
    train_zero_pad: float | None


class RepairSettings(MethodSettings, TrainingSettings, ShiftSettings, total=False):
    """What `fix` may be told beside the model and how data are read."""

    compare_methods: bool
    goal: Literal["circular", "crop"]
    data: str | Path | None
    max_accuracy_drop: float | None
    report: str | Path | None


def taken(kind: type[T], settings: MutableMapping[str, Any], **more: Any) -> T:
    """A dataclass made of its own out of `settings`, which keeps the others, and of `more`."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: settings.pop(name) for name in names if name in settings}, **more)
