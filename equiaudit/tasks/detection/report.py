"""What a result says of boxes: how jitter grows, the least stable objects, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from equiaudit.report import figures
from equiaudit.report.escape import is_picture, visible
from equiaudit.report.pages import fragment
from equiaudit.results import BoxExample, BoxShift, JitterMap, Result, UnstableBox
from equiaudit.tasks import METRICS
from equiaudit.tasks.sections import HtmlSections, Name, Section

_LISTED, _NARROW, _MOST_PHASES = 20, 5, 8
_OBJECTS = ("image", "class", "score", "box, px", "kept", "largest jitter, px")


@dataclass(frozen=True)
class Card:
    """One unstable image: pictures as (caption, `data:` URI), and what is said below."""

    file: str
    kind: str
    offset: str
    said: str
    pictures: tuple[tuple[str, str], ...]


def boxes_of(result: Result) -> list[tuple[str, BoxShift]]:
    """What was found of boxes, by shift kind."""
    shifts = result.shifts.values()
    return [(visible(s.kind), s.boxes) for s in shifts if s.boxes is not None]


def sections(result: Result, *, narrow: bool) -> Iterator[Section]:
    """Jitter by distance and phase, and the least stable objects."""
    header, rows = by_distance(result)
    if rows:
        yield Section(
            "Mean jitter by distance, px",
            header,
            rows,
            align="l" + "r" * (len(header) - 1),
            after="causes",
        )
    for kind, own in boxes_of(result):
        if not narrow and (table := by_phase(own.jitter_phase_map)):
            yield Section(
                "Mean jitter by phase, px, under",
                *table,
                align="l" + "r" * len(table[1]),
                of=kind,
                after="causes",
            )
    for kind, own in boxes_of(result):
        cells = [_cells(one) for one in own.objects[: _NARROW if narrow else _LISTED]]
        if cells:
            yield Section(
                "Least stable objects under",
                _OBJECTS,
                cells,
                align="llrrrr",
                of=kind,
                after="causes",
            )


def by_distance(result: Result) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of a table: distance by shift kind."""
    info = METRICS["jitter_median"]
    found = [(kind, own.jitter_by_distance) for kind, own in boxes_of(result)]
    table: dict[float, dict[str, str]] = {}
    for kind, points in found:
        for point in points:
            table.setdefault(point.distance, {})[kind] = figures.quantity(point.jitter, info)
    kinds = [kind for kind, points in found if points]
    rows = [
        (f"{d:g} px", *(cells.get(kind, "") for kind in kinds))
        for d, cells in sorted(table.items())
    ]
    return ("distance", *map(Name, kinds)), rows


def by_phase(
    found: JitterMap | None,
) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """The header and the rows of a table; None where there is no such map, or a large one."""
    if found is None or max(len(found.rows), len(found.cols)) > _MOST_PHASES:
        return None
    header = ("dy \\ dx", *map(str, found.cols))
    return header, [
        (str(dy), *("" if value is None else f"{value:.2f}" for value in values))
        for dy, values in zip(found.rows, found.values, strict=True)
    ]


def _cells(one: UnstableBox) -> tuple[str, ...]:
    return (
        Name(visible(one.file)),
        Name(visible(one.name) if one.name else str(one.label)),
        f"{one.score:.2f}",
        ", ".join(str(round(side)) for side in one.box),
        f"{one.kept} of {one.compared}",
        figures.NOTHING if one.jitter_max is None else f"{one.jitter_max:.1f}",
    )


def html(result: Result, room: int) -> HtmlSections:
    """The same, with the least stable images in pictures as long as `room` bytes last."""
    cards = []
    for example in result.box_examples:
        pictures = _pictures(example)
        size = sum(len(uri) for _, uri in pictures)
        room, pictures = (room - size, pictures) if size <= room else (room, ())
        cards.append(_card(example, pictures))
    objects = [(k, [_cells(o) for o in own.objects[:_LISTED]]) for k, own in boxes_of(result)]
    phases = [(kind, by_phase(own.jitter_phase_map)) for kind, own in boxes_of(result)]
    shown = fragment(
        "equiaudit.tasks.detection",
        "boxes",
        distances=by_distance(result),
        phases=[(kind, *table) for kind, table in phases if table],
        objects=[(kind, rows) for kind, rows in objects if rows],
        header=_OBJECTS,
        cards=cards,
    )
    return HtmlSections(causes=shown)


def _pictures(example: BoxExample) -> tuple[tuple[str, str], ...]:
    named = (
        ("unshifted", example.unshifted),
        ("shifted", example.shifted),
        ("both, moved back", example.both),
    )
    return tuple((name, uri) for name, uri in named if is_picture(uri))


def _card(example: BoxExample, pictures: tuple[tuple[str, str], ...]) -> Card:
    dy, dx = example.offset
    names = ("kept", "lost", "relabelled", "appeared")
    return Card(
        file=visible(example.file),
        kind=visible(example.kind),
        offset=f"({dy:g}, {dx:g})".replace("-", "−"),
        said=", ".join(f"{getattr(example, name)} {name}" for name in names),
        pictures=pictures,
    )
