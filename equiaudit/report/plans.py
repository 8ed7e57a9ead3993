"""The shift plan of a fingerprint in words; a plan is plain data, so nothing is taken for given."""

from __future__ import annotations

from typing import Any


def reach(plan: dict[str, Any]) -> int | None:
    """Largest shift along an axis in px; None where it is not said."""
    furthest = plan.get("max_shift")
    return furthest if isinstance(furthest, int) else None


def moved(plan: dict[str, Any]) -> str:
    """``moved by up to 16 px``."""
    furthest = reach(plan)
    return "moved" if furthest is None else f"moved by up to {furthest} px"


def offsets_in_words(plan: dict[str, Any]) -> str:
    """``16 offsets per image``."""
    if "frames" in plan:
        frames = plan["frames"]
        if isinstance(frames, int):
            return f"{frames} windows per sequence, 1 px apart"
        return "frames as they are"
    if plan.get("protocol") is not None:
        return "one pair of offsets per image"
    count = plan.get("offsets", "full")
    if not isinstance(count, int):
        return "every offset"
    return f"{count:,} offset{'' if count == 1 else 's'} per image"
