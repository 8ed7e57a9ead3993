"""What a scan is asked to do."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from equiaudit.config import DEFAULTS
from equiaudit.config.groups import taken


@dataclass(frozen=True)
class ScanOptions:
    """Settings of one scan; all but the last group change the result."""

    shifts: tuple[str, ...] = DEFAULTS.shifts
    max_shift: int = DEFAULTS.max_shift
    """R: offsets live in [-R, R]^2, px at the model's input."""
    offsets: int | Literal["full"] = DEFAULTS.offsets
    """Shifts per image and kind, or "full" for all (2R + 1)^2 - 1."""
    limit: int | None = DEFAULTS.limit
    seed: int = DEFAULTS.seed
    protocol: str | None = DEFAULTS.protocol
    """A named protocol instead of `shifts`, `max_shift` and `offsets`."""
    output_range: tuple[float, float] | None = DEFAULTS.output_range
    """(black, white) of the images that an image-to-image model returns; None: (0, 1)."""
    images: bool = DEFAULTS.images
    """Keep thumbnails of the worst images."""
    strict: bool = DEFAULTS.strict
    """An unreadable image stops the run."""
    accuracy_check: bool = DEFAULTS.accuracy_check
    """With labels, accuracy near chance stops the run."""
    early_stop: bool = DEFAULTS.early_stop
    """End when every gate is settled by bounds that hold at any time."""
    precision: float | None = DEFAULTS.precision
    """End when such bounds lie this near to the figures."""

    batch_size: int | Literal["auto"] = DEFAULTS.batch_size
    workers: int | Literal["auto"] = DEFAULTS.workers
    resume: bool = DEFAULTS.resume


def scan_options(settings: MutableMapping[str, Any]) -> ScanOptions:
    """Those that `settings` name, which keeps the others."""
    options = taken(ScanOptions, settings)
    return replace(options, shifts=tuple(options.shifts))
