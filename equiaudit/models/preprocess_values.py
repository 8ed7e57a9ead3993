"""What the keys of a preprocessing file may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from equiaudit.errors import InputError
from equiaudit.tasks import TASKS

MULTI = "multi"
FEWEST, MOST = 4, 32
"""Channels of an image that is neither grey nor RGB."""

CHOICES = {
    "channels": ("rgb", "bgr", "gray", MULTI),
    "dtype": ("float32", "float16", "uint8"),
    "layout": ("NCHW", "NHWC"),
    "output_layout": ("NCHW", "NHWC"),
    "interpolation": ("nearest", "bilinear", "bicubic"),
    "fit": ("crop", "letterbox"),
    "place": ("centre", "top-left"),
}
_LONGEST_SIDE = 1 << 16
_LARGEST_NUMBER = 1e30


def several_channels(channels: int | None, what: str) -> int | None:
    """`channels` where they are neither 1 nor 3; InputError for what no image has."""
    if channels in (1, 3, None):
        return None
    if channels is not None and not FEWEST <= channels <= MOST:
        raise InputError(
            f"{what} takes images of {channels} channels; 1, 3 and {FEWEST} to {MOST} are"
            " supported."
        )
    return channels


def shown(value: Any) -> str:
    """A value as messages quote it."""
    listed = isinstance(value, list | tuple)
    try:
        text = "[" + ", ".join(map(str, value)) + "]" if listed else repr(value)
    except (ValueError, RecursionError):  # a whole number of 5,000 digits has no text
        return f"that {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."


def _size(value: Any) -> tuple[int, int] | None:
    sides = isinstance(value, list) and len(value) == 2 and all(_side(v) for v in value)
    return (value[0], value[1]) if sides else None


def _side(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value <= _LONGEST_SIDE else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) not in (1, 3, *range(FEWEST, MOST + 1)):
        return None
    real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    # Neither nan nor a whole number of 400 digits, which no float holds.
    usable = real and all(abs(v) < _LARGEST_NUMBER for v in value)
    return tuple(map(float, value)) if usable else None


def _deviations(value: Any) -> tuple[float, ...] | None:
    numbers = _numbers(value)
    return numbers if numbers and min(numbers) > 0 else None


def _bounds(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    usable = real and all(abs(v) < _LARGEST_NUMBER for v in value) and value[0] < value[1]
    return (float(value[0]), float(value[1])) if usable else None


def _one_of(choices: tuple[str, ...]) -> tuple[str, Callable[[Any], Any]]:
    return " or ".join(f'"{c}"' for c in choices), lambda v: v if v in choices else None


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1 else None


def _task(value: Any) -> str | None:
    return value if isinstance(value, str) and value in TASKS else None


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


READINGS = ("task", "output", "output_layout", "threshold", "stride", "detector")
"""The keys that are about the output, not the image; the table last."""
CHECKS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "size": ("two positive whole numbers [H, W]", _size),
    "mean": ("3 numbers, 1 for gray, or 4 to 32", _numbers),
    "std": ("3 positive numbers, 1 for gray, or 4 to 32", _deviations),
    "image_range": ("two numbers [black, white], the second larger", _bounds),
    "pixel_range": ("1 or 255", lambda v: v if v in (1, 255) and v is not True else None),
    "resize": ("a positive whole number, or two [H, W]", lambda v: _side(v) or _size(v)),
    "pad": ("a whole number in 0..255", lambda v: v if type(v) is int and 0 <= v <= 255 else None),
    "crop_margin": ("a positive whole number", _side),
    "crop_votes": ("1, 4, 9 or 16", lambda v: v if type(v) is int and v in (1, 4, 9, 16) else None),
    "task": (f"one of {', '.join(TASKS)}", _task),
    "output": ("the name of an output, or its place as text", _name),
    "threshold": ("a number between 0 and 1", _share),
    "stride": ("two positive whole numbers [rows, columns]", _size),
    "detector": ("a table", lambda v: v if isinstance(v, dict) else None),
    **{key: _one_of(choices) for key, choices in CHOICES.items()},
}
"""Key -> what its value must be, and what gives the value, None where it is something else."""
