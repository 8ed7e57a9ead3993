"""Which operation breaks equivariance: a ranked table, and the error along the depth of the net."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from equiaudit.errors import InputError
from equiaudit.report.escape import terminal, visible
from equiaudit.report.pages import environment
from equiaudit.report.parts import Part, counted, sentence, table
from equiaudit.results.repair import Inspection, Located, Place

_BAR = 30
"""Characters of the longest bar."""
_WIDTH, _ROW, _LABELS = 420, 20, 240
"""Of the picture: its longest bar, the height of a row and the room for names, px."""
_NONE = 1e-5
"""Errors below are rounding."""


def located_parts(found: Located) -> Iterable[Part]:
    """For a terminal."""
    yield Text("Where it breaks", style="bold")
    yield Text(_said(found))
    ranked = table(
        "op, for --only", "enters, whole", "between", "reaches", "fixed alone", "up to it"
    )
    for place in found.places:
        cells = _figures(place)
        ranked.add_row(Text(sentence(place.name)), *(Text(_share(cell)) for cell in cells))
    yield ranked
    if found.reason:
        yield Text(sentence(f"Where a fix has no figure: {found.reason}."))
    yield Text("Error along depth, when the image is rolled", style="bold")
    depths = table("op", "error", "")
    for place, length in zip(_in_order(found), _lengths(found, _BAR), strict=True):
        error, bar = Text(_share(place.at_depth)), Text("█" * round(length))
        depths.add_row(Text(sentence(place.name)), error, bar)
    yield depths


def _said(found: Located) -> str:
    """What the figures are of."""
    rolled = ", ".join(f"({dy}, {dx})" for dy, dx in found.shifts)
    images = counted(len(found.images), "image", "images")
    return (
        f"On {images}; rolled by {rolled} px the output changes by {_share(found.unmodified)} of"
        " its range in the mean. Enters: the change of an op's own output, over its norm, when its"
        " input is rolled by whole pixels of that (border), and by half a pixel more (sampling)."
        " Reaches: the change of the net's output by that alone. Fixed: what is left of the change"
        " after fix --only that op, or all up to it."
    )


def _figures(place: Place) -> tuple[float | None, ...]:
    """Of the ranked table."""
    entering = place.enters_whole, place.enters_between
    return (*entering, place.reaches, place.only, place.up_to)


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if value < _NONE else f"{100 * value:.2g}%"


def _in_order(found: Located) -> Sequence[Place]:
    return sorted(found.places, key=lambda place: place.depth)


def _lengths(found: Located, longest: int) -> list[float]:
    errors = [place.at_depth or 0.0 for place in _in_order(found)]
    most = max(errors, default=0.0) or 1.0
    return [longest * error / most if error >= _NONE else 0.0 for error in errors]


@dataclass(frozen=True)
class _Row:
    name: str
    top: int
    length: float
    shown: str


def write_located(folder: Path, found: Inspection) -> None:
    """`inspection.json` and `inspection.html` into `folder`; InputError where that cannot be."""
    if found.located is None:
        raise ValueError("nothing was located")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "inspection.json").write_text(found.model_dump_json(indent=2) + "\n", "utf-8")
        (folder / "inspection.html").write_text(_page(found, found.located), "utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write to {folder}: {error.strerror or error}.",
            tip="Give a folder that can be written with -o.",
        ) from error


def _page(found: Inspection, located: Located) -> str:
    order = _in_order(located)
    lengths = _lengths(located, _WIDTH)
    rows = [
        _Row(visible(place.name, 34), i * _ROW, round(length, 1), _share(place.at_depth))
        for i, (place, length) in enumerate(zip(order, lengths, strict=True))
    ]
    ranked = [
        (
            visible(p.name, 200),
            visible(p.effect, 200),
            [_share(figure) for figure in _figures(p)],
        )
        for p in located.places
    ]
    template = environment().get_template("inspection.html.jinja")
    return template.render(
        model=visible(found.model, 200),
        said=terminal(_said(located), 2000),
        reason=visible(located.reason or "", 300),
        ranked=ranked,
        rows=rows,
        left=_LABELS,
        row=_ROW,
        width=_LABELS + _WIDTH + 80,
        height=_ROW * len(rows),
    )
