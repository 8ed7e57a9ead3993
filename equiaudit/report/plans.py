"""The shift plan of a fingerprint in words; a plan is plain data, so nothing is taken for given."""

from __future__ import annotations

from typing import Any


def reach(plan: dict[str, Any]) -> int | None:
    """Largest shift along an axis in px; None where it is not said."""
    furthest = plan.get("max_shift")
    return furthest if isinstance(furthest, int) else None


def moved(plan: dict[str, Any], kind: str) -> str:
    """``moved by up to 16 px``, as it is under `kind`."""
    furthest: float | None = reach(plan)
    own = _tried(plan).get(kind)
    if isinstance(own, dict) and isinstance(own.get("max_shift"), int | float):
        furthest = own["max_shift"]
    return "moved" if furthest is None else f"moved by up to {furthest:g} px"


def _tried(plan: dict[str, Any]) -> dict[str, Any]:
    """Of protocols that try the same offsets on every image, by the names of their figures."""
    tried = plan.get("tried")
    return tried if isinstance(tried, dict) else {}


def offsets_in_words(plan: dict[str, Any]) -> str:
    """``16 offsets per image``."""
    if "frames" in plan:
        frames = plan["frames"]
        if isinstance(frames, int):
            return f"{frames} windows per sequence, 1 px apart"
        return "frames as they are"
    counts = [str(own.get("offsets")) for own in _tried(plan).values() if isinstance(own, dict)]
    if counts:
        return f"{' + '.join(counts)} offsets per image"
    if plan.get("protocol") is not None and not plan.get("leaves_shifts"):
        return "one pair of offsets per image"
    count = plan.get("offsets", "full")
    if not isinstance(count, int):
        return "every offset"
    return f"{count:,} offset{'' if count == 1 else 's'} per image"


def steps_in_words(plan: dict[str, Any]) -> str:
    """``fractions in steps of 1/4 px, subpixel by lanczos``; empty of whole pixels alone."""
    parts = plan.get("fraction")
    if not isinstance(parts, int):
        return ""
    resampler = plan.get("resampler")
    by = "" if resampler is None else f", subpixel by {resampler}"
    return (f"fractions in steps of 1/{parts} px" if parts > 1 else "whole pixels") + by
