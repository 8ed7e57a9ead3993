"""The shift plan of a fingerprint in words; a plan is plain data, so nothing is taken for given."""

from __future__ import annotations

from typing import Any

__all__ = ["moved", "offsets_in_words", "reach"]


def _series(plan: dict[str, Any], name: str | None) -> list[dict[str, Any]]:
    """The series called `name`, all of them for None."""
    found = plan.get("series")
    known = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [each for each in known if name is None or each.get("name") == name]


def reach(plan: dict[str, Any], name: str | None = None) -> int | None:
    """Largest shift along an axis in px, of one series or of all; None where it is not said."""
    ends = [each.get(end) for each in _series(plan, name) for end in ("low", "high")]
    far = [abs(end) for end in [*ends, plan.get("max_shift")] if isinstance(end, int)]
    return max(far, default=None)


def moved(plan: dict[str, Any], name: str) -> str:
    """``moved by up to 16 px``."""
    furthest = reach(plan, name)
    return "moved" if furthest is None else f"moved by up to {furthest} px"


def offsets_in_words(plan: dict[str, Any]) -> str:
    """``16 offsets per image``."""
    series = _series(plan, None)
    if any(each.get("pair") for each in series):
        return "one pair of offsets per image"
    count = series[0].get("count", "full") if series else plan.get("offsets", "full")
    if not isinstance(count, int):
        return "every offset"
    return f"{count:,} offset{'' if count == 1 else 's'} per image"
