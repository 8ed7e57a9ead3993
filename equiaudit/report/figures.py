"""Numbers as text, with no more digits than their interval supports."""

from __future__ import annotations

import math
from dataclasses import replace

from equiaudit.report.escape import visible
from equiaudit.results import Estimate, MetricInfo
from equiaudit.tasks import METRICS

NOTHING = "–"
_DECIMALS_WITHOUT_INTERVAL = {True: 1, False: 3}
_MOST_DECIMALS = 6


def info_of(metric: str) -> MetricInfo:
    """What is known of a metric, by ``metric`` or ``kind.metric``; a plain number if nothing is."""
    name = metric.rpartition(".")[2]
    found = METRICS.get(name)
    return found or MetricInfo(name, visible(name), "", True, upper_bound=None, is_share=False)


def decimals(half_width: float) -> int:
    """Decimals worth printing beside an uncertainty of `half_width`, in the printed unit.

    The rule of the Particle Data Group: two significant digits of the uncertainty where it
    starts with 100 to 354, one from 355 to 949.
    """
    if half_width <= 0:
        return 1
    exponent = math.floor(math.log10(half_width))
    leading = half_width / 10.0**exponent
    digits = -exponent + (1 if leading < 3.55 else 0)
    return min(max(digits, 0), _MOST_DECIMALS)


def _scaled(figure: float, info: MetricInfo) -> float:
    return 100 * figure if info.is_share else figure


def _decimals_of(estimate: Estimate, info: MetricInfo) -> int:
    if estimate.low is None or estimate.high is None:
        return _DECIMALS_WITHOUT_INTERVAL[info.is_share]
    return decimals(_scaled(estimate.high - estimate.low, info) / 2)


def _fixed(figure: float, places: int, bounds: tuple[float, ...]) -> str:
    """`figure` with `places` decimals, more where it would read as a bound it is not at."""
    while places < _MOST_DECIMALS and any(
        figure != bound and round(figure, places) == bound for bound in bounds
    ):
        places += 1
    text = f"{figure:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _unit(info: MetricInfo) -> str:
    if info.unit:
        return f" {info.unit}"
    return "%" if info.is_share else ""


def _quantity(figure: float, places: int, info: MetricInfo) -> str:
    return _fixed(_scaled(figure, info), places, (0.0, 100.0) if info.is_share else ())


def value(estimate: Estimate | None, info: MetricInfo, *, unit: bool = True) -> str:
    """``93.1%``; a dash where nothing was averaged."""
    if estimate is None or estimate.value is None:
        return NOTHING
    number = _quantity(estimate.value, _decimals_of(estimate, info), info)
    return number + (_unit(info) if unit else "")


def way(before: Estimate | None, after: Estimate | None, info: MetricInfo) -> str:
    """``86.14% -> 86.10%``: both with as many decimals, so that no fall reads as a rise."""
    known = [e for e in (before, after) if e is not None and e.value is not None]
    places = max((_decimals_of(each, info) for each in known), default=0)

    def said(estimate: Estimate | None) -> str:
        if estimate is None or estimate.value is None:
            return NOTHING
        return _quantity(estimate.value, places, info) + _unit(info)

    return f"{said(before)} -> {said(after)}"


def interval(estimate: Estimate | None, info: MetricInfo) -> str:
    """``[91.4, 94.6]`` in the unit of the value; empty where there is none."""
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return ""
    places = _decimals_of(estimate, info)
    low, high = (_quantity(end, places, info) for end in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def quantity(estimate: Estimate | None, info: MetricInfo) -> str:
    """``93.1% [91.4, 94.6]``."""
    return f"{value(estimate, info)} {interval(estimate, info)}".rstrip()


def drop(estimate: Estimate, info: MetricInfo) -> str:
    """How much worse a metric got: ``3.0 points worse [1.1, 4.9]``, ``0.2 px better [0.1, 0.3]``.

    Shares in points; the interval is that of what the word says.
    """
    if estimate.value is None:
        return NOTHING
    number = _fixed(_scaled(abs(estimate.value), info), _decimals_of(estimate, info), (0.0,))
    way = "worse" if estimate.value > 0 else "better"
    said = "no worse" if estimate.value == 0 else f"{number}{_unit(in_points(info))} {way}"
    return f"{said} {interval(_towards(estimate), info)}".rstrip()


def _towards(estimate: Estimate) -> Estimate:
    """Of a gain, the interval of the gain, so that it stands on the side of the word."""
    if estimate.value is None or estimate.value >= 0 or None in (estimate.low, estimate.high):
        return estimate
    low, high = float(estimate.low or 0.0), float(estimate.high or 0.0)
    return estimate.model_copy(update={"value": -estimate.value, "low": -high, "high": -low})


def in_points(info: MetricInfo) -> MetricInfo:
    """`info` of differences: those of shares are in points."""
    return replace(info, unit="points") if info.is_share else info


def near(figure: float, threshold: float, info: MetricInfo) -> str:
    """`figure` to four digits, to more where it would read as the threshold it is not."""
    scaled, held = _scaled(figure, info), _scaled(threshold, info)
    digits = next((n for n in (4, 6, 9) if float(f"{scaled:.{n}g}") != held), 4)
    return f"{scaled:.{digits}g}{_unit(info)}"


def sentence_of(estimate: Estimate, info: MetricInfo) -> str:
    """``7.1%, 95% interval 5.8 to 8.6%, 1,000 images``."""
    return f"{value(estimate, info)}, {evidence(estimate, info)}"


def evidence(estimate: Estimate, info: MetricInfo, unit: str = "image") -> str:
    """``95% interval 5.8 to 8.6%, 1,000 images``: what stands behind a value."""
    parts = []
    bounds = interval(estimate, info).strip("[]").split(", ")
    if len(bounds) == 2:
        level = f"{100 * estimate.confidence:g}% interval"
        parts.append(f"{level} {bounds[0]} to {bounds[1]}{_unit(info)}")
    parts.append(counted(estimate, unit))
    return ", ".join(parts)


def counted(estimate: Estimate, unit: str = "image") -> str:
    """``1,000 images``: over how many it is."""
    return f"{estimate.n:,} {unit}{'' if estimate.n == 1 else 's'}"


def exact(figure: float, info: MetricInfo) -> str:
    """A threshold or a bound as written by a person: ``95%``, ``3 px``."""
    shown = f"{_scaled(figure, info):.6g}"
    return f"{shown}{' point' if shown == '1' and info.unit == 'points' else _unit(info)}"


def share(figure: float, places: int = 1) -> str:
    """A plain share as ``93.1%``, for hovers and axes."""
    return f"{_fixed(100 * figure, places, (0.0, 100.0))}%"
