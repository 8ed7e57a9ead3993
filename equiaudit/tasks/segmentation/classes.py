"""What a result says of classes: a table per shift kind, where there were masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.pages import fragment
from equiaudit.results import Result
from equiaudit.tasks import METRICS
from equiaudit.tasks.maps.report import dense_of
from equiaudit.tasks.sections import Name, Section

_MOST_CLASSES, _LISTED, _MOST_KINDS = 256, 50, 24
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ClassRow:
    """One class of a segmentation, its figures as text."""

    name: str
    colour: str
    pixels: str
    clean: str
    shifted: str
    worst: str
    lost: str


def class_tables(result: Result) -> tuple[tuple[str, tuple[ClassRow, ...]], ...]:
    """(shift kind, a row per class) where there were masks."""
    found = ((kind, dense.classes[:_MOST_CLASSES]) for kind, dense in dense_of(result))
    iou, lost = METRICS["miou_clean"], METRICS["lost_object"]
    return tuple(
        (
            kind,
            tuple(
                ClassRow(
                    name=visible(score.name) if score.name else str(score.index),
                    colour=score.colour if _COLOUR.fullmatch(score.colour) else "#888888",
                    pixels=f"{score.pixels:,}",
                    clean=figures.quantity(score.iou_clean, iou),
                    shifted=figures.quantity(score.iou_shifted, iou),
                    worst=figures.quantity(score.iou_worst, iou),
                    lost=""
                    if score.lost_object is None
                    else figures.quantity(score.lost_object, lost),
                )
                for score in classes
            ),
        )
        for kind, classes in found
        if classes
    )


def sections(result: Result, *, narrow: bool) -> Iterator[Section]:
    """One table per kind."""
    header = ("class", "pixels", "IoU, unshifted", "shifted", "worst shift", "objects lost")
    for kind, rows in class_tables(result)[: None if narrow else _MOST_KINDS]:
        if narrow:
            yield Section(
                "Classes under",
                ("class", "IoU", "shifted", "objects lost"),
                [(Name(r.name), r.clean, r.shifted, r.lost) for r in rows],
                of=kind,
            )
        else:
            shown = [(Name(r.name), r.pixels, r.clean, r.shifted, r.worst, r.lost) for r in rows]
            yield Section("Classes under", header, shown[:_LISTED], align="lrrrrr", of=kind)


def html(result: Result) -> str:
    """The same with the colours of the pictures."""
    return fragment("equiaudit.tasks.segmentation", "classes", class_tables=class_tables(result))
