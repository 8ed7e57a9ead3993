from __future__ import annotations

from itertools import pairwise

import pytest

from equiaudit.report import figures, scales
from equiaudit.report.escape import visible
from equiaudit.results import Estimate
from equiaudit.tasks import METRICS

SHARE, PIXELS = METRICS["agreement"], METRICS["flip_radius"]


def estimate(value: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=100, method="bca")


@pytest.mark.parametrize(
    ("half", "expected"),
    [(5.5, 0), (3.6, 0), (3.5, 1), (1.7, 1), (0.5, 1), (0.12, 2), (0.05, 2), (12, 0), (400, 0)],
)
def test_decimals_follow_the_uncertainty(half: float, expected: int) -> None:
    assert figures.decimals(half) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (estimate(0.93, 0.86, 0.97), "93% [86, 97]"),
        (estimate(0.9312, 0.914, 0.946), "93.1% [91.4, 94.6]"),
        (estimate(0.93124, 0.9300, 0.9324), "93.12% [93.00, 93.24]"),
        (estimate(0.998, 0.90, 0.9999), "99.8% [90, 99.99]"),
        (estimate(1.0, 0.90, 1.0), "100% [90, 100]"),
        (estimate(-0.0001, -0.05, 0.05), "-0.01% [-5, 5]"),
        (estimate(0.5, None, None), "50.0%"),
    ],
)
def test_shares(found: Estimate, expected: str) -> None:
    assert figures.quantity(found, SHARE) == expected


def test_units_and_nothing() -> None:
    assert figures.quantity(estimate(3.42, 3.1, 3.77), PIXELS) == "3.42 px [3.10, 3.77]"
    assert figures.quantity(Estimate(value=None, n=0, method="bca"), PIXELS) == "–"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("a\x1bb", "a\\x1bb"), ("a\nb", "a\\nb"), ("\u202e", "\\u202e"),
     ("", "(blank)"), ("  ", "(blank)"), ("é 猫", "é 猫")],
)  # fmt: skip
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_visible_shortens_the_middle() -> None:
    shown = visible("a" * 300 + "z.png")
    assert len(shown) == 160
    assert shown.endswith("z.png")


def test_colour_scale_grows_evenly_in_lightness() -> None:
    def lightness(colour: str) -> float:
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        return 116 * luminance ** (1 / 3) - 16

    steps = [lightness(colour) for colour in scales.COLOURS]
    growth = [b - a for a, b in pairwise(steps)]
    assert min(growth) > 0
    assert max(growth) < 2.5 * sum(growth) / len(growth)


def test_share_domain_and_ticks() -> None:
    domain = scales.share_domain([0.873, 0.962])
    assert (domain.low, domain.high) == (0.85, 1.0)
    assert scales.nice_ticks(domain, 5) == (0.85, 0.9, 0.95, 1.0)
    same = scales.share_domain([1.0, 1.0])
    assert same.low < same.high == 1.0


def test_a_way_has_as_many_decimals_on_both_sides():
    info = METRICS["accuracy_clean"]
    before = Estimate(value=0.8614, low=0.70, high=0.95, n=8, method="bca")
    after = Estimate(value=0.8610, low=0.8605, high=0.8615, n=8, method="bca")
    assert figures.way(before, after, info) == "86.14% -> 86.10%"
    assert figures.way(before, None, info) == "86% -> –"
