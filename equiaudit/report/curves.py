"""Agreement by distance and the boundary parts as drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equiaudit.report import figures
from equiaudit.report.escape import visible
from equiaudit.report.maps import Tick
from equiaudit.report.scales import Domain, nice_ticks, share_domain
from equiaudit.results import METRICS, BoundaryPart, DistancePoint, Estimate

__all__ = ["HEIGHT", "WIDTH", "Bar", "Curve", "Point", "bars", "curves"]

WIDTH, HEIGHT = 264, 160
"""Of a curve's plot area, in SVG user units."""
BAR = 240
"""Length of the axis of the bars, in SVG user units."""
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
class Curve:
    """One kind's curve; `others` are the paths of the remaining kinds, for comparison."""

    kind: str
    points: tuple[Point, ...]
    others: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
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
    shown: str
    reason: str
    start: float = 0.0
    length: float = 0.0
    low: float = 0.0
    high: float = 0.0
    zero: float = 0.0


def curves(kinds: Sequence[tuple[str, Sequence[DistancePoint]]]) -> tuple[Curve, ...]:
    """One curve per kind, all on the same two axes."""
    known = [(kind, _thinned([p for p in points if _has_value(p)])) for kind, points in kinds]
    known = [(kind, points) for kind, points in known if points]
    if not known:
        return ()
    x_axis, y_axis = _axes([point for _, points in known for point in points])
    drawn = [(kind, _points(points, x_axis, y_axis)) for kind, points in known]
    return tuple(
        Curve(
            kind=visible(kind),
            points=points,
            others=tuple(_path(other) for name, other in drawn if name != kind),
            x_ticks=_x_ticks(x_axis),
            y_ticks=_y_ticks(y_axis),
            description=_description(measured),
        )
        for (kind, points), (_, measured) in zip(drawn, known, strict=True)
    )


def _has_value(point: DistancePoint) -> bool:
    return point.agreement.value is not None


def _thinned(points: Sequence[DistancePoint]) -> Sequence[DistancePoint]:
    """Every k-th point where there are more than a curve can show."""
    return points[:: -(-len(points) // _MOST_POINTS)] if points else points


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    """(low, value, high), the value standing in for a missing end."""
    value = float(estimate)
    low = value if estimate.low is None else estimate.low
    high = value if estimate.high is None else estimate.high
    return low, value, high


def _axes(points: Sequence[DistancePoint]) -> tuple[Domain, Domain]:
    furthest = max(point.distance for point in points)
    return Domain(0, max(furthest, 1)), share_domain(
        end for point in points for end in _ends(point.agreement)
    )


def _points(points: Sequence[DistancePoint], x: Domain, y: Domain) -> tuple[Point, ...]:
    return tuple(_point(point, x, y) for point in points)


def _point(point: DistancePoint, x: Domain, y: Domain) -> Point:
    low, value, high = (round(HEIGHT - y.place(end, HEIGHT), 1) for end in _ends(point.agreement))
    said = figures.sentence_of(point.agreement, METRICS["agreement"])
    at = round(x.place(point.distance, WIDTH), 1)
    return Point(at, value, low, high, f"{point.distance} px: {said}")


def _path(points: Sequence[Point]) -> str:
    return " ".join(f"{point.x:g},{point.y:g}" for point in points)


def _x_ticks(axis: Domain) -> tuple[Tick, ...]:
    """Quarters of the reach where they are whole, else round numbers."""
    reach = round(axis.high)
    quarter = reach // 4
    values = [k * quarter for k in range(5)] if reach % 4 == 0 else nice_ticks(axis, 6)
    return tuple(Tick(round(axis.place(v, WIDTH), 1), f"{v:g}") for v in values)


def _y_ticks(axis: Domain) -> tuple[Tick, ...]:
    places = 0 if all(abs(v * 100 - round(v * 100)) < 1e-6 for v in nice_ticks(axis, 6)) else 1
    return tuple(
        Tick(round(HEIGHT - axis.place(v, HEIGHT), 1), figures.share(v, places))
        for v in nice_ticks(axis, 6)
    )


def _description(points: Sequence[DistancePoint]) -> str:
    share = METRICS["agreement"]
    first, last = points[0], points[-1]
    lowest = min(points, key=lambda point: float(point.agreement))
    return (
        f"Agreement is {figures.quantity(first.agreement, share)} at {first.distance} px and "
        f"{figures.quantity(last.agreement, share)} at {last.distance} px; the lowest is "
        f"{figures.quantity(lowest.agreement, share)} at {lowest.distance} px."
    )


def bars(parts: Sequence[BoundaryPart]) -> tuple[Bar, ...]:
    """The boundary parts on one axis through zero."""
    known = [part.estimate for part in parts if part.estimate and part.estimate.value is not None]
    ends = [end for estimate in known for end in _ends(estimate)]
    axis = Domain(min([0.0, *ends]), max([0.0, *ends]) or 0.01)
    return tuple(_bar(part, axis) for part in parts)


def _bar(part: BoundaryPart, axis: Domain) -> Bar:
    name, meaning = visible(part.name), visible(part.meaning, 300)
    if part.estimate is None or part.estimate.value is None:
        why = part.reason or "nothing was measured"
        return Bar(name, meaning, "not known", visible(why, 300))
    low, value, high = (round(axis.place(end, BAR), 1) for end in _ends(part.estimate))
    zero = round(axis.place(0.0, BAR), 1)
    shown = figures.quantity(part.estimate, METRICS["flipped"])
    start, length = min(zero, value), round(abs(value - zero), 1)
    return Bar(name, meaning, shown, "", start, length, low, high, zero)
