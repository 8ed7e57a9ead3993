"""What a scan is asked to do."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from equiaudit.config.flags import taken
from equiaudit.kinds import FRACTION, RESAMPLERS, usual


@dataclass(frozen=True)
class ScanOptions:
    """Settings of one scan; all but the last group change the result.

    The defaults are those of `equiaudit.config.Settings`, which a test holds.
    """

    shifts: tuple[str, ...] = usual()
    max_shift: int = 16
    """R: offsets live in [-R, R]^2, px at the model's input."""
    offsets: int | Literal["full"] = 16
    """Shifts per image and kind, or "full" for all (2R + 1)^2 - 1."""
    limit: int | None = None
    seed: int = 0
    fraction: int = FRACTION
    """Shifts by fractions of a pixel are multiples of 1 / `fraction` px."""
    resampler: str = RESAMPLERS[0]
    """How "subpixel" finds values between pixels."""
    protocol: str | None = None
    """A named protocol instead of `shifts`, `max_shift` and `offsets`."""
    output_range: tuple[float, float] | None = None
    """(black, white) of the images that an image-to-image model returns; None: (0, 1)."""
    images: bool = True
    """Keep thumbnails of the worst images."""
    strict: bool = False
    """An unreadable image stops the run."""
    accuracy_check: bool = True
    """Accuracy near chance, or a segmenter that finds nothing, stops the run."""
    early_stop: bool = False
    """End when every gate is settled by bounds that hold at any time."""
    precision: float | None = None
    """End when such bounds lie this near to the figures."""

    batch_size: int | Literal["auto"] = "auto"
    workers: int | Literal["auto"] = "auto"
    resume: bool = True


def scan_options(settings: MutableMapping[str, Any]) -> ScanOptions:
    """Those that `settings` name, which keeps the others."""
    options = taken(ScanOptions, settings)
    return replace(options, shifts=tuple(options.shifts))
