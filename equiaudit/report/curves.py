"""Figures along an axis and the boundary parts as drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.maps import PLOT, Tick
from equiaudit.report.scales import Domain, nice_ticks, share_domain
from equiaudit.results import BoundaryPart, DistancePoint, Estimate, MetricInfo
from equiaudit.tasks import METRICS

WIDTH, HEIGHT = 264, 160
"""Of a curve's plot area, in SVG user units."""
BAR = 240
"""Length of the axis of the bars, in SVG user units."""
SIZES = {"map": PLOT, "width": WIDTH, "height": HEIGHT, "bar": BAR}
"""As the templates name them."""
_MOST_POINTS = 80


@dataclass(frozen=True)
class Point:
    """A mark on a curve with its interval; `low` and `high` are heights as `y` is."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True)
class Reading:
    """A figure at one place of the horizontal axis."""

    at: float
    where: str
    """``3 px``, as hovering says it."""
    estimate: Estimate


@dataclass(frozen=True)
class Frame:
    """What the curves of a section share."""

    title: str
    """``Agreement by distance``."""
    subject: str
    """``Agreement``, as a sentence begins."""
    x_label: str
    info: MetricInfo
    x_axis: Domain
    x_ticks: tuple[Tick, ...]
    mark: float | None = None
    """Where a vertical line stands, in SVG user units."""


@dataclass(frozen=True)
class Curve:
    """One kind's curve; `others` are the paths of the remaining kinds, for comparison."""

    kind: str
    points: tuple[Point, ...]
    others: tuple[str, ...]
    frame: Frame
    y_ticks: tuple[Tick, ...]
    description: str

    @property
    def path(self) -> str:
        """The `points` of an SVG polyline through the values."""
        return _path(self.points)

    @property
    def band(self) -> str:
        """The `points` of an SVG polygon around the intervals."""
        upper = [f"{p.x:g},{p.high:g}" for p in self.points]
        lower = [f"{p.x:g},{p.low:g}" for p in reversed(self.points)]
        return " ".join(upper + lower)


@dataclass(frozen=True)
class Bar:
    """One boundary part: a bar from zero with its interval, or the reason there is none."""

    name: str
    meaning: str
    remedy: str
    shown: str
    reason: str
    start: float = 0.0
    length: float = 0.0
    low: float = 0.0
    high: float = 0.0
    zero: float = 0.0


def curves(kinds: Sequence[tuple[str, Sequence[DistancePoint]]]) -> tuple[Curve, ...]:
    """Agreement by the distance of the shift: one curve per kind, all on the same two axes."""
    series = [(kind, _thinned([_by_distance(p) for p in points])) for kind, points in kinds]
    furthest = max((reading.at for _, readings in series for reading in readings), default=0)
    axis = Domain(0, max(furthest, 1))
    frame = Frame(
        "Agreement by distance",
        "Agreement",
        "distance max(|dy|, |dx|), px",
        METRICS["agreement"],
        axis,
        _x_ticks(axis),
    )
    return drawn_curves(series, frame)


def _by_distance(point: DistancePoint) -> Reading:
    return Reading(point.distance, f"{point.distance:g} px", point.agreement)


def drawn_curves(
    series: Sequence[tuple[str, Sequence[Reading]]], frame: Frame
) -> tuple[Curve, ...]:
    """One curve per kind that has figures, all in one frame."""
    known = [
        (kind, [r for r in readings if r.estimate.value is not None]) for kind, readings in series
    ]
    known = [(kind, readings) for kind, readings in known if readings]
    if not known:
        return ()
    ends = [end for _, readings in known for r in readings for end in _ends(r.estimate)]
    y_axis = share_domain(ends) if frame.info.is_share else Domain(0.0, max(ends) or 1.0)
    drawn = [(kind, tuple(_point(r, frame, y_axis) for r in readings)) for kind, readings in known]
    return tuple(
        Curve(
            kind=visible(kind),
            points=points,
            others=tuple(_path(other) for name, other in drawn if name != kind),
            frame=frame,
            y_ticks=_y_ticks(y_axis, frame.info),
            description=_description(readings, frame),
        )
        for (kind, points), (_, readings) in zip(drawn, known, strict=True)
    )


def _thinned(readings: Sequence[Reading]) -> Sequence[Reading]:
    """Every k-th reading where there are more than a curve can show."""
    known = [reading for reading in readings if reading.estimate.value is not None]
    return known[:: -(-len(known) // _MOST_POINTS)] if known else known


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    """(low, value, high), the value standing in for a missing end."""
    value = float(estimate)
    low = value if estimate.low is None else estimate.low
    high = value if estimate.high is None else estimate.high
    return low, value, high


def _point(reading: Reading, frame: Frame, y: Domain) -> Point:
    heights = (round(HEIGHT - y.place(end, HEIGHT), 1) for end in _ends(reading.estimate))
    low, value, high = heights
    said = figures.sentence_of(reading.estimate, frame.info)
    at = round(frame.x_axis.place(reading.at, WIDTH), 1)
    return Point(at, value, low, high, f"{reading.where}: {said}")


def _path(points: Sequence[Point]) -> str:
    return " ".join(f"{point.x:g},{point.y:g}" for point in points)


def _x_ticks(axis: Domain) -> tuple[Tick, ...]:
    """Quarters of the reach where they are whole, else round numbers."""
    reach = round(axis.high)
    quarter = reach // 4
    values = [k * quarter for k in range(5)] if reach % 4 == 0 else nice_ticks(axis, 6)
    return tuple(Tick(round(axis.place(v, WIDTH), 1), f"{v:g}") for v in values)


def _y_ticks(axis: Domain, info: MetricInfo) -> tuple[Tick, ...]:
    values = nice_ticks(axis, 6)
    places = 0 if all(abs(v * 100 - round(v * 100)) < 1e-6 for v in values) else 1
    return tuple(
        Tick(
            round(HEIGHT - axis.place(v, HEIGHT), 1),
            figures.share(v, places) if info.is_share else f"{v:g}",
        )
        for v in values
    )


def _description(readings: Sequence[Reading], frame: Frame) -> str:
    info = frame.info
    first, last = readings[0], readings[-1]
    pick, word = (min, "lowest") if info.higher_is_better else (max, "highest")
    worst = pick(readings, key=lambda reading: float(reading.estimate))
    return (
        f"{frame.subject} is {figures.quantity(first.estimate, info)} at {first.where} and "
        f"{figures.quantity(last.estimate, info)} at {last.where}; the {word} is "
        f"{figures.quantity(worst.estimate, info)} at {worst.where}."
    )


def bars(parts: Sequence[BoundaryPart], info: MetricInfo) -> tuple[Bar, ...]:
    """The boundary parts on one axis through zero, in the unit of `info`."""
    known = [part.estimate for part in parts if part.estimate and part.estimate.value is not None]
    ends = [end for estimate in known for end in _ends(estimate)]
    axis = Domain(min([0.0, *ends]), max([0.0, *ends]) or 0.01)
    return tuple(_bar(part, axis, info) for part in parts)


def _bar(part: BoundaryPart, axis: Domain, info: MetricInfo) -> Bar:
    name, meaning = visible(part.name, 300), visible(part.meaning, 300)
    remedy = visible(part.remedy, 300) if part.remedy else ""
    if part.estimate is None or part.estimate.value is None:
        why = part.reason or "nothing was measured"
        return Bar(name, meaning, remedy, "not known", visible(why, 300))
    low, value, high = (round(axis.place(end, BAR), 1) for end in _ends(part.estimate))
    zero = round(axis.place(0.0, BAR), 1)
    shown = figures.quantity(part.estimate, info)
    start, length = min(zero, value), round(abs(value - zero), 1)
    return Bar(name, meaning, remedy, shown, "", start, length, low, high, zero)
