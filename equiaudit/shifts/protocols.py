"""Published evaluation protocols, each kept under its own name so that numbers never mix."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROTOCOLS", "Protocol"]


@dataclass(frozen=True)
class Protocol:
    """One pair of shifts per image, both coordinates uniform in [low, high], zero included.

    Pairs of two equal shifts count as agreeing, as published. A displacement moves the
    content by +dy rows and +dx columns; for a crop the window moves the other way.
    """

    name: str
    kind: str
    low: int
    high: int
    meaning: str


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "zhang2019",
            "crop",
            -15,
            16,
            "two windows of a centre crop 32 px larger, corners in 0..31, one pair per image "
            "(BlurPool, Zhang 2019)",
        ),
        Protocol("mass", "circular", 0, 31, "two rolls in 0..31, one pair per image (MASS, eq. 4)"),
        Protocol(
            "aps",
            "circular",
            -32,
            31,
            "two rolls in -32..31, one pair per image (APS, Chaman and Dokmanic 2021)",
        ),
    )
}
