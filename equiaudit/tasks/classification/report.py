"""What a result says of labels alone: the least stable images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from equiaudit.report import figures, words
from equiaudit.report.escape import is_picture, visible
from equiaudit.report.pages import fragment
from equiaudit.results import Result, WorstImage
from equiaudit.tasks.sections import HtmlSections, Name, Section

_LISTED, _PICTURED = 50, 48


def sections(result: Result, *, narrow: bool) -> Iterator[Section]:
    """The images, where there is room."""
    if result.worst and not narrow:
        yield Section(
            "Least stable images",
            ("image", "shift", "(dy, dx) px", "unshifted", "shifted", "agreement"),
            [_row(result, worst) for worst in result.worst[:_LISTED]],
            align="llrllr",
            after="causes",
        )


def _row(result: Result, worst: WorstImage) -> tuple[str, ...]:
    dy, dx = worst.offset
    return (
        Name(worst.file),
        Name(worst.kind),
        f"({dy:g}, {dx:g})",
        Name(words.label_name(result, worst.clean_label)),
        Name(words.label_name(result, worst.flipped_label)),
        figures.share(worst.agreement, 0),
    )


def html(result: Result, room: int) -> HtmlSections:
    """The images with thumbnails."""
    shown = _cards(result, room)
    return HtmlSections(causes=fragment("equiaudit.tasks.classification", "worst", worst=shown))


def _cards(result: Result, room: int) -> list[dict[str, Any]]:
    """The cards, with thumbnails as long as `room` bytes last."""
    shown = []
    for worst in result.worst[:_PICTURED]:
        pair = _thumbnails(worst)
        room -= sum(map(len, pair))
        shown.append(_card(result, worst) | {"thumbnails": pair if room >= 0 else ()})
    return shown


def _thumbnails(worst: WorstImage) -> tuple[str, ...]:
    """Both thumbnails, or none: a pair says what one alone cannot."""
    pair = (worst.thumbnail_clean or "", worst.thumbnail_shifted or "")
    return pair if all(map(is_picture, pair)) else ()


def _card(result: Result, worst: WorstImage) -> dict[str, Any]:
    dy, dx = worst.offset
    return {
        "file": visible(worst.file),
        "kind": visible(worst.kind),
        "truth": words.label_name(result, worst.label) if worst.label is not None else "",
        "clean": words.label_name(result, worst.clean_label),
        "confidence": _sureness(worst.clean_confidence),
        "flipped": words.label_name(result, worst.flipped_label),
        "offset": f"({dy:g}, {dx:g})".replace("-", "−"),
        "agreement": figures.share(worst.agreement, 0),
    }


def _sureness(confidence: float | None) -> str:
    return "" if confidence is None else f"{figures.share(confidence, 0)} sure unshifted"
