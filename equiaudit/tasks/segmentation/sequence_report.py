"""What a result says of sliding windows: IoU by frame, and the sequences that vary most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from equiaudit.report import curves, figures
from equiaudit.report.escape import is_picture, visible
from equiaudit.report.maps import Tick
from equiaudit.report.pages import fragment
from equiaudit.report.scales import Domain
from equiaudit.results import DefectSequence, Result, SequenceShift
from equiaudit.tasks import METRICS
from equiaudit.tasks.sections import Name, Section

_HEADER = ("sequence", "setting", "defect, px", "IoU, best frame", "worst", "frames that lose it")


@dataclass(frozen=True)
class Strip:
    """One sequence: pictures as (caption, `data:` URI), and what is said below."""

    file: str
    kind: str
    said: str
    pictures: tuple[tuple[str, str], ...]


def sections(result: Result) -> Iterator[Section]:
    """The sequences that vary most."""
    rows = [
        (Name(visible(each.file)), Name(kind), *_cells(each))
        for kind, own in _sequences(result)
        for each in own.worst
    ]
    if rows:
        yield Section("Sequences that vary most", _HEADER, rows, align="llrrrr")


def html(result: Result, room: int) -> tuple[str, int]:
    """Curves and strips, with pictures as long as `room` bytes last; and the room that is left."""
    found = _sequences(result)
    if not found:
        return "", room
    strips = []
    for kind, own in found:
        for each in own.worst:
            size = sum(map(len, each.pictures))
            pictured = size <= room
            room -= size if pictured else 0
            strips.append(_strip(kind, each, pictured=pictured))
    shown = fragment(
        "equiaudit.tasks.segmentation",
        "sequences",
        curves=_by_frame(found),
        strips=strips,
        plot=curves.SIZES,
    )
    return shown, room


def _sequences(result: Result) -> list[tuple[str, SequenceShift]]:
    shifts = result.shifts.values()
    return [(visible(s.kind), s.sequences) for s in shifts if s.sequences is not None]


def _cells(each: DefectSequence) -> tuple[str, ...]:
    best, worst = (figures.share(value) for value in (max(each.iou), min(each.iou)))
    return (f"{each.true_area:,}", best, worst, f"{sum(each.lost)} of {len(each.lost)}")


def _strip(kind: str, each: DefectSequence, *, pictured: bool) -> Strip:
    area, best, worst, lost = _cells(each)
    said = f"IoU between {worst} and {best}; {lost} frames lose the defect of {area} px"
    names = [
        f"{i}: {'lost' if gone else figures.share(iou, 0)}"
        for i, (iou, gone) in enumerate(zip(each.iou, each.lost, strict=True), 1)
    ]
    pictures = each.pictures if pictured else ()
    shown = tuple((n, uri) for n, uri in zip(names, pictures, strict=False) if is_picture(uri))
    return Strip(visible(each.file), kind, said, shown)


def _by_frame(found: list[tuple[str, SequenceShift]]) -> tuple[curves.Curve, ...]:
    longest = max(len(own.by_frame) for _, own in found)
    axis = Domain(1, max(longest, 2))
    step = -(-longest // 8)
    frame = curves.Frame(
        title="IoU of the defect by frame",
        subject="The IoU",
        x_label="frame; the window moves 1 px each",
        info=METRICS["mean_iou"],
        x_axis=axis,
        x_ticks=tuple(
            Tick(round(axis.place(i, curves.WIDTH), 1), str(i)) for i in range(1, longest + 1, step)
        ),
    )
    series = [
        (kind, [curves.Reading(i, f"frame {i}", e) for i, e in enumerate(own.by_frame, 1)])
        for kind, own in found
    ]
    return curves.drawn_curves(series, frame)
