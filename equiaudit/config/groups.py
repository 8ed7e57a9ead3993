"""The options of `scan` in typed groups, as Python names them; each key is optional.

What is left out has the default of `Settings`. Those of `fix` are in `equiaudit.repair.options`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class ShiftSettings(TypedDict, total=False):
    """Which shifts of which images."""

    limit: int | None
    max_shift: int
    offsets: int | Literal["full"]
    accuracy_check: bool
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
    gates: Sequence[str]
    baseline: str | Path | None
    require_baseline: bool
    update_baseline: bool
    early_stop: bool
    precision: float | None
    strict: bool
    output: str | Path | None
    save_preprocess: bool
    images: bool
