"""Axes and colours: round tick values, and a perceptually uniform scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_VIRIDIS = (
    (68, 1, 84),
    (71, 45, 123),
    (59, 82, 139),
    (44, 114, 142),
    (33, 145, 140),
    (40, 174, 128),
    (94, 201, 98),
    (173, 220, 48),
    (253, 231, 37),
)
"""Nine equidistant stops of viridis (Smith and van der Walt, 2015): even steps in lightness,
told apart under every common colour blindness and in grey."""
_STEPS = 48


@dataclass(frozen=True)
class Domain:
    """The values an axis runs over."""

    low: float
    high: float

    def place(self, value: float, length: float = 1.0) -> float:
        """Where `value` lies on an axis of `length`, clipped to its ends."""
        span = self.high - self.low
        return min(max((value - self.low) / span, 0.0), 1.0) * length


def _blend(position: float) -> str:
    scaled = position * (len(_VIRIDIS) - 1)
    first = min(int(scaled), len(_VIRIDIS) - 2)
    part = scaled - first
    mixed = (
        round(a + (b - a) * part) for a, b in zip(_VIRIDIS[first], _VIRIDIS[first + 1], strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


COLOURS = tuple(_blend(step / (_STEPS - 1)) for step in range(_STEPS))


def colour_index(value: float, domain: Domain) -> int:
    """The step of `COLOURS` for `value`."""
    return min(int(domain.place(value, _STEPS)), _STEPS - 1)


def share_domain(shares: Iterable[float]) -> Domain:
    """A domain within [0, 1] around `shares`, its ends on round values, never empty."""
    found = [share for share in shares if 0 <= share <= 1] or [0.0, 1.0]
    low, high = min(found), max(found)
    step = 0.05 if high - low > 0.05 else 0.01
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if high - low < step / 2:
        low, high = (low - step, high) if low >= step else (low, high + step)
    return Domain(round(low, 6), round(min(high, 1.0), 6))


def nice_ticks(domain: Domain, most: int = 6) -> tuple[float, ...]:
    """At most `most` round values within the domain (step 1, 2 or 5 times a power of ten)."""
    raw = (domain.high - domain.low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= raw * (1 - 1e-9))
    first, last = math.ceil(domain.low / step - 1e-9), math.floor(domain.high / step + 1e-9)
    return tuple(round(i * step, 9) for i in range(first, last + 1))
