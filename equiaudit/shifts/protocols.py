"""Published evaluation protocols, each kept under its own name so that numbers never mix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equiaudit.shifts.series import Series


@dataclass(frozen=True)
class Protocol:
    """The shifts that a paper tried, and the names that its figures stand under."""

    name: str
    names: tuple[str, ...]
    series: Callable[[tuple[int, int]], tuple[Series, ...]]
    """Of a window (H, W)."""
    measures: tuple[str, ...] = ()
    """Of a protocol that leaves the shifts to the user: what it measures over those."""

    @property
    def leaves_shifts(self) -> bool:
        """Whether kinds, reach and number of shifts are the user's."""
        return bool(self.measures)


def _pair(name: str, kind: str, low: int, high: int, meaning: str) -> Protocol:
    """One pair of shifts per image, both coordinates uniform in [low, high], zero included.

    Pairs of two equal shifts count as agreeing, as published. A displacement moves the
    content by +dy rows and +dx columns; for a crop the window moves the other way.
    """
    series = Series(name, kind, low, high, 2, pair=True, meaning=meaning)
    return Protocol(name, (name,), lambda window: (series,))


_AFC = "alias-free"
_FARTHEST = 31
_WORST = ("accuracy_robust",)


def _alias_free(window: tuple[int, int]) -> tuple[Series, ...]:
    """Every circular shift of three grids, of which the worst counts.

    Whole ones move the content down and right, fractions up and left, as in the code beside the
    paper; shifts with a 0 in either coordinate are not tried there.
    """
    half = _square(range(-1, -2 * _FARTHEST, -2))
    thirds, quarters = (_square(range(-12 + 12 // n, 0, 12 // n)) for n in (3, 4))
    by = "(Michaeli et al. 2023)"
    return (
        Series(
            f"{_AFC}-integer",
            "circular",
            1,
            _FARTHEST,
            None,
            meaning=f"every roll by 1 to {_FARTHEST} px in both directions {by}",
            measures=_WORST,
        ),
        Series(
            f"{_AFC}-half",
            "fractional",
            -_FARTHEST,
            0,
            None,
            parts=2,
            given=half,
            meaning=f"every circular shift by 0.5, 1.5, ... {_FARTHEST - 0.5} px in both"
            f" directions {by}",
            measures=_WORST,
        ),
        Series(
            f"{_AFC}-fractional",
            "fractional",
            -1,
            0,
            None,
            parts=12,
            given=(*thirds, *quarters),
            meaning="circular shifts by 1/3 and 2/3 px in both directions, and by 1/4, 2/4 and 3/4"
            f" {by}",
            measures=_WORST,
        ),
    )


def _square(steps: range) -> tuple[tuple[int, int], ...]:
    return tuple((dy, dx) for dy in steps for dx in steps)


def _tips(window: tuple[int, int]) -> tuple[Series, ...]:
    """One pair of shifts by up to a quarter of the window, over black and rolled."""
    far = min(window) // 4
    return tuple(
        Series(
            f"tips-{name}",
            kind,
            -far,
            far,
            2,
            pair=True,
            meaning=f"two {what} by up to {far} px, one pair per image (TIPS)",
            measures=("stability", "fidelity"),
        )
        for name, kind, what in (
            ("standard", "zero-pad", "shifts over black"),
            ("circular", "circular", "rolls"),
        )
    )


_RICS = Series(
    "rics",
    "crop",
    -1,
    1,
    None,
    meaning="the 8 moves of the window by 1 px over a larger image; an image is fooled where one"
    " of them changes its label (Shifman and Weiss 2024)",
)

PROTOCOLS = {
    p.name: p
    for p in (
        _pair(
            "zhang2019",
            "crop",
            -15,
            16,
            "two windows of a centre crop 32 px larger, corners in 0..31, one pair per image "
            "(BlurPool, Zhang 2019)",
        ),
        _pair("mass", "circular", 0, 31, "two rolls in 0..31, one pair per image (MASS, eq. 4)"),
        _pair(
            "aps",
            "circular",
            -32,
            31,
            "two rolls in -32..31, one pair per image (APS, Chaman and Dokmanic 2021)",
        ),
        Protocol(
            _AFC, tuple(f"{_AFC}-{n}" for n in ("integer", "half", "fractional")), _alias_free
        ),
        Protocol("manfredi2020", (), lambda window: (), ("ap_lower", "ap_upper")),
        Protocol("rics", ("rics",), lambda window: (_RICS,)),
        Protocol("tips", ("tips-standard", "tips-circular"), _tips),
    )
}
