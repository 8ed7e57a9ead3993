"""Findings as sentences: how often something changes."""

from __future__ import annotations

from collections.abc import Callable


def one_in(probability: float, noun: str = "image") -> tuple[str, bool]:
    """A share above 0 in words, and whether they are plural: ``("1 image in 14", False)``."""
    if probability >= 1:
        return f"every {noun}", False
    if probability < 0.35:
        return f"1 {noun} in {round(1 / probability):,}", False
    return f"{round(100 * probability)} {noun}s in 100", True


def counted(
    noun: str, nothing: str, one: str = "changes its label", many: str = "change their label"
) -> Callable[[float, str], str]:
    """``1 image in 14 changes its label when moved by up to 16 px``."""

    def said(share: float, moved: str) -> str:
        if share <= 0:
            return f"{nothing} when {moved}"
        words, plural = one_in(share, noun)
        return f"{words[0].upper()}{words[1:]} {many if plural else one} when {moved}"

    return said
