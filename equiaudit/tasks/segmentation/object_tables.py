"""What a result says of objects: how many are always found by size, and those that shifts lose."""

from __future__ import annotations

from collections.abc import Iterator

from equiaudit.kinds import is_real
from equiaudit.report.escape import visible
from equiaudit.report.pages import fragment
from equiaudit.results import LostObject, ObjectTable, Result
from equiaudit.tasks.maps.report import dense_of
from equiaudit.tasks.sections import Name, Section

_LISTED, _NARROW = 20, 5
_LOST = ("image", "class", "size, px", "at (y, x), px", "found")
_NOUNS = {"masks": "object", "predictions": "predicted region"}

Tables = list[tuple[str, ObjectTable]]


def sections(result: Result, *, narrow: bool) -> Iterator[Section]:
    """One table by size over all kinds, and one of lost objects per kind."""
    tables = _tables(result)
    if not tables:
        return
    header, rows = by_size(tables)
    yield Section(
        f"{_titled(tables)} found unshifted and at every shift, by size",
        header,
        rows,
        align="l" + "r" * len(tables),
        below=" ".join(_below(tables)),
        whole=True,
    )
    for kind, table in _led_by_real(tables)[: 1 if narrow else None]:
        if table.lost:
            yield Section(
                f"{_titled(tables)} lost most often under",
                _LOST,
                [_cells(result, one) for one in table.lost[: _NARROW if narrow else _LISTED]],
                align="llrrr",
                of=kind,
            )


def by_size(tables: Tables) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows: size by kind, each cell how many of how many."""
    cells: dict[tuple[int, int], dict[str, str]] = {}
    for kind, table in tables:
        for size in table.sizes:
            said = f"{size.always:,} of {size.objects:,}"
            cells.setdefault((size.low, size.high), {})[kind] = said
    rows = [
        (f"{low:,} to {high:,} px", *(own.get(kind, "") for kind, _ in tables))
        for (low, high), own in sorted(cells.items())
    ]
    return ("size", *(Name(kind) for kind, _ in tables)), rows


def html(result: Result) -> str:
    """The same."""
    tables = _tables(result)
    if not tables:
        return ""
    header, rows = by_size(tables)
    lost = [
        (kind, [_cells(result, one) for one in table.lost[:_LISTED]])
        for kind, table in _led_by_real(tables)
    ]
    return fragment(
        "equiaudit.tasks.segmentation",
        "objects",
        title=_titled(tables),
        header=header,
        rows=rows,
        safe=list(_below(tables)),
        lost_header=_LOST,
        lost=[(kind, rows) for kind, rows in lost if rows],
    )


def _tables(result: Result) -> Tables:
    return [(kind, dense.objects) for kind, dense in dense_of(result) if dense.objects]


def _led_by_real(tables: Tables) -> Tables:
    return sorted(tables, key=lambda pair: not is_real(pair[0]))


def _titled(tables: Tables) -> str:
    return f"{_NOUNS[tables[0][1].of]}s".capitalize()


def _below(tables: Tables) -> Iterator[str]:
    yield from map(_safe, tables)
    if tables[0][1].of == "masks":
        yield "One defect frame by frame, as a camera sees it: scan --protocol caps."


def _safe(pair: tuple[str, ObjectTable]) -> str:
    kind, table = pair
    noun = _NOUNS[table.of]
    if table.safe_area is None:
        return f"{kind}: the largest {noun} is not always found."
    many = f"{table.safe_objects:,} {noun}{'' if table.safe_objects == 1 else 's'}"
    return f"{kind}: from {table.safe_area:,} px on all are always found ({many})."


def _cells(result: Result, one: LostObject) -> tuple[str, ...]:
    return (
        Name(visible(one.file)),
        Name(visible(result.class_names.get(one.label, str(one.label)))),
        f"{one.area:,}",
        f"{one.at[0]}, {one.at[1]}",
        f"at {one.found} of {one.tried} shifts",
    )
