"""What a result says of maps: distance to the border, where it changes, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from equiaudit.report import curves, figures, findings
from equiaudit.report.escape import is_picture, visible
from equiaudit.report.maps import PLOT, Cell, HeatMap, Legend, Tick, bytes_of
from equiaudit.report.pages import fragment
from equiaudit.report.scales import COLOURS, Domain, colour_index, nice_ticks
from equiaudit.results import DenseExample, DenseShift, MetricInfo, Result
from equiaudit.results import HeatMap as Grid
from equiaudit.tasks.sections import HtmlSections, Name, Section

_TEMPLATES = "equiaudit.tasks.maps"

_LISTED = 50
_CARD_BYTES = 330


@dataclass(frozen=True)
class ExampleCard:
    """One unstable image: pictures as (caption, `data:` URI), and what is said below."""

    file: str
    kind: str
    offset: str
    change: str
    truth: str
    """The mIoU unshifted and shifted, "" without a mask."""
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class HeatCard:
    """Where one image changes."""

    file: str
    change: str
    top: str
    picture: str


def dense_of(result: Result) -> Iterator[tuple[str, DenseShift]]:
    """What was found of maps, by shift kind."""
    for shift in result.shifts.values():
        if shift.dense is not None:
            yield visible(shift.kind), shift.dense


def sections(result: Result, *, narrow: bool) -> Iterator[Section]:
    """The profile, and where there is room the least stable images."""
    kinds, rows = profile_rows(result)
    if rows:
        yield Section(
            "Change by distance to the border",
            ("distance", *map(Name, kinds)),
            rows if narrow else rows[:_LISTED],
            align="l" + "r" * len(kinds),
            after="causes",
            below=receptive_field(result),
            whole=True,
        )
    cards = [] if narrow else example_rows(result, _LISTED)
    if cards:
        yield Section(
            "Least stable images",
            ("image", "shift", "(dy, dx) px", "change", "against the mask"),
            [(Name(c.file), Name(c.kind), c.offset, c.change, c.truth) for c in cards],
            align="llrrl",
            after="causes",
        )


def html(result: Result, room: int) -> HtmlSections:
    """The profile, the maps of change, and the least stable images in pictures."""
    changes, legend = change_maps(result)
    examples, room = example_cards(result, room - bytes_of(changes))
    figs = fragment(
        _TEMPLATES,
        "figures",
        profiles=profile_curves(result),
        receptive_field=receptive_field(result),
        change_maps=changes,
        change_legend=legend,
        heat_cards=heat_cards(result, room),
        plot=curves.SIZES,
    )
    return HtmlSections(figures=figs, causes=fragment(_TEMPLATES, "examples", examples=examples))


def receptive_field(result: Result) -> str:
    """The receptive-field radius in a sentence, "" where the output is no map."""
    field = result.receptive_field
    if field is None:
        return ""
    method = visible(field.method, 300)
    if field.radius is None:
        return f"The receptive-field radius is not known: {method}."
    least = "at least " if field.covers_window else ""
    return (
        f"An output pixel is reached from input pixels up to {least}{field.radius} px away "
        f"({method}); farther than that from every border, no padding is in play."
    )


def profile_curves(result: Result) -> tuple[curves.Curve, ...]:
    """The change by distance to the border, a bin at a time."""
    profiles = [(kind, dense.profile) for kind, dense in dense_of(result) if dense.profile.bins]
    if not profiles:
        return ()
    longest = max((profile.bins for _, profile in profiles), key=len)
    axis = Domain(0, max(len(longest) - 1, 1))
    frame = curves.Frame(
        title="Change by distance to the border",
        subject="The change",
        x_label="distance to the border, px",
        info=findings.change_info(result),
        x_axis=axis,
        x_ticks=_bin_ticks([bin.low for bin in longest], axis),
        mark=_mark(result, [(bin.low, bin.high) for bin in longest], axis),
    )
    series = [
        (
            kind,
            [
                curves.Reading(i, f"{_range(bin.low, bin.high)} px", bin.change)
                for i, bin in enumerate(profile.bins)
            ],
        )
        for kind, profile in profiles
    ]
    return curves.drawn_curves(series, frame)


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _bin_ticks(lows: Sequence[int], axis: Domain) -> tuple[Tick, ...]:
    """The lower end of every k-th bin, at most seven of them."""
    step = -(-len(lows) // 7)
    places = ((i, low) for i, low in enumerate(lows) if i % step == 0)
    return tuple(Tick(round(axis.place(i, curves.WIDTH), 1), f"{low}") for i, low in places)


def _mark(result: Result, bins: Sequence[tuple[int, int]], axis: Domain) -> float | None:
    """Where the receptive-field radius lies among the bins; None where it lies beyond them."""
    field = result.receptive_field
    if field is None or field.radius is None:
        return None
    for i, (low, high) in enumerate(bins):
        if low <= field.radius <= high:
            part = (field.radius - low) / (high - low + 1)
            return round(axis.place(i + part, curves.WIDTH), 1)
    return None


def profile_rows(result: Result) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The header and the rows of a table: distance to the border by shift kind."""
    profiles = [(kind, dense.profile) for kind, dense in dense_of(result) if dense.profile.bins]
    info = findings.change_info(result)
    table: dict[tuple[int, int], dict[str, str]] = {}
    for kind, profile in profiles:
        for bin in profile.bins:
            table.setdefault((bin.low, bin.high), {})[kind] = figures.quantity(bin.change, info)
    kinds = tuple(kind for kind, _ in profiles)
    rows = tuple(
        (f"{_range(*ends)} px", *(cells.get(kind, "") for kind in kinds))
        for ends, cells in sorted(table.items())
    )
    return kinds, rows


def change_maps(result: Result) -> tuple[tuple[HeatMap, ...], Legend | None]:
    """The mean change over the window, all kinds on one colour scale from zero."""
    grids = [(kind, dense.mean_map) for kind, dense in dense_of(result)]
    grids = [(kind, grid) for kind, grid in grids if grid.values and grid.values[0]]
    known = [value for _, grid in grids for value in _values(grid)]
    if not known:
        return (), None
    info, domain = findings.change_info(result), Domain(0.0, max(known) or 1.0)
    legend = Legend(_legend_ticks(domain, info), len(COLOURS))
    return tuple(_drawn(kind, grid, domain, info) for kind, grid in grids), legend


def _values(grid: Grid) -> Iterator[float]:
    return (value for row in grid.values for value in row if value is not None)


def _legend_ticks(domain: Domain, info: MetricInfo) -> tuple[Tick, ...]:
    margin = 0.15 * domain.high
    inner = (v for v in nice_ticks(domain, 4) if margin < v < domain.high - margin)
    values = (0.0, *inner, domain.high)
    return tuple(Tick(round(domain.place(v, PLOT), 2), _plain(v, info)) for v in values)


def _plain(value: float, info: MetricInfo) -> str:
    return figures.share(value, 1) if info.is_share else f"{value:.3g}"


def _drawn(kind: str, grid: Grid, domain: Domain, info: MetricInfo) -> HeatMap:
    rows, columns = len(grid.values), len(grid.values[0])
    scale = PLOT / max(rows, columns)
    high, wide = grid.height / rows, grid.width / columns
    cells = tuple(
        Cell(
            j, i, colour_index(value, domain), f"{_where(i, j, high, wide)}: {_plain(value, info)}"
        )
        for i, row in enumerate(grid.values)
        for j, value in enumerate(row)
        if value is not None
    )
    return HeatMap(
        kind=kind,
        columns=columns,
        rows=rows,
        scale=round(scale, 4),
        cells=cells,
        x_ticks=_pixel_ticks(grid.width, columns * scale),
        y_ticks=_pixel_ticks(grid.height, rows * scale),
        origin=None,
        description=_described(grid, info),
    )


def _where(i: int, j: int, high: float, wide: float) -> str:
    rows = f"rows {round(i * high)} to {round((i + 1) * high) - 1}"
    return f"{rows}, columns {round(j * wide)} to {round((j + 1) * wide) - 1}"


def _pixel_ticks(pixels: int, length: float) -> tuple[Tick, ...]:
    axis = Domain(0, pixels)
    return tuple(Tick(round(axis.place(v, length), 1), f"{v:g}") for v in nice_ticks(axis, 5))


def _described(grid: Grid, info: MetricInfo) -> str:
    values = sorted(_values(grid))
    if not values:
        return "Nothing was compared."
    middle = values[len(values) // 2]
    return (
        f"Half of the window changes by at most {_plain(middle, info)}, "
        f"the most changed place by {_plain(values[-1], info)}."
    )


def example_cards(result: Result, room: int) -> tuple[list[ExampleCard], int]:
    """The cards, with pictures as long as `room` bytes last; and the room that is left."""
    info, cards = findings.change_info(result), []
    for example in result.examples:
        pictures = _pictures(example)
        size = sum(len(uri) for _, uri in pictures)
        room, pictures = (room - size, pictures) if size <= room else (room, ())
        cards.append(_card(example, info, pictures))
    return cards, room


def _pictures(example: DenseExample) -> tuple[tuple[str, str], ...]:
    named = (
        ("input", example.input),
        ("shifted input", example.shifted_input),
        ("truth", example.truth or ""),
        ("output", example.clean),
        ("shifted, moved back", example.shifted_back),
        ("difference", example.difference),
    )
    return tuple((name, uri) for name, uri in named if is_picture(uri))


def _card(
    example: DenseExample, info: MetricInfo, pictures: tuple[tuple[str, str], ...]
) -> ExampleCard:
    dy, dx = example.offset
    truth = ""
    if example.miou_clean is not None and example.miou_shifted is not None:
        before, after = (figures.share(v) for v in (example.miou_clean, example.miou_shifted))
        truth = f"mIoU {before} unshifted, {after} shifted"
    return ExampleCard(
        file=visible(example.file),
        kind=visible(example.kind),
        offset=f"({dy:g}, {dx:g})".replace("-", "−"),
        change=_plain(example.change, info),
        truth=truth,
        pictures=pictures,
    )


def example_rows(result: Result, most: int) -> list[ExampleCard]:
    """The same without pictures."""
    info = findings.change_info(result)
    return [_card(example, info, ()) for example in result.examples[:most]]


def heat_cards(result: Result, room: int) -> tuple[tuple[str, list[HeatCard], int], ...]:
    """(kind, cards, how many there are): the most changed images first, as `room` bytes last."""
    info, found = findings.change_info(result), []
    kinds = [(kind, dense.heat_maps) for kind, dense in dense_of(result) if dense.heat_maps]
    for kind, own in kinds:
        share, cards = room // len(kinds), []
        for heat in own:
            share -= len(heat.picture) + _CARD_BYTES
            if share < 0:
                break
            if is_picture(heat.picture):
                change, top = _plain(heat.change, info), _plain(heat.top, info)
                cards.append(HeatCard(visible(heat.file), change, top, heat.picture))
        found.append((kind, cards, len(own)))
    return tuple(found)
