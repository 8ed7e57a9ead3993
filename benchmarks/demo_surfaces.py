"""Pictures of metal surfaces, sound or with one kind of defect, drawn by arithmetic alone.

Only uniform draws of PCG64 are used, whose stream is fixed, so a seed means the same picture
everywhere, up to the last place of a sine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Height and width of a picture, px: a 32x32 window may move by 16 px each way."""

Field = NDArray[np.float64]
"""One value per px, (64, 64), or per px and channel, (64, 64, 3)."""

_ROWS: Field = np.repeat(np.arange(SIDE, dtype=np.float64)[:, None], SIDE, axis=1)
_COLUMNS: Field = _ROWS.T
_CENTRE = (SIDE - 1) / 2


def surface(name: str, seed: int) -> NDArray[np.uint8]:
    """One picture of class `name`, (64, 64, 3) uint8 RGB, a function of both arguments."""
    stream = np.random.SeedSequence([seed, list(CLASSES).index(name)])
    rng = np.random.Generator(np.random.PCG64(stream))
    drawn = CLASSES[name](_metal(rng), rng)
    light = _lighting(rng)[..., None]
    grain = 0.05 * (rng.random((SIDE, SIDE, 1)) - 0.5)
    return np.clip(np.rint(255 * (drawn * light + grain)), 0, 255).astype(np.uint8)


def _metal(rng: np.random.Generator) -> Field:
    """Brushed metal: noise smeared along one axis, around a base colour."""
    along, across = rng.integers(2, 9), rng.integers(0, 2)
    noise = _smeared(_smeared(rng.random((SIDE, SIDE)), int(along), 1), int(across), 0)
    noise = (noise - noise.mean()) / noise.std()
    if rng.random() < 0.5:
        noise = noise.T
    tint = np.array([1.0, 1.0, 1.0]) + 0.06 * (rng.random(3) - 0.5)
    metal: Field = (0.55 + 0.2 * (rng.random() - 0.5) + 0.035 * noise)[..., None] * tint
    return metal


def _lighting(rng: np.random.Generator) -> Field:
    """A slow slope of brightness from a random side."""
    angle, slope = 2 * np.pi * rng.random(), 0.1 * rng.random()
    along: Field = np.cos(angle) * (_COLUMNS - _CENTRE) + np.sin(angle) * (_ROWS - _CENTRE)
    return 1 + slope * along / SIDE


def _smeared(field: Field, reach: int, axis: int) -> Field:
    """The mean over 2 reach + 1 px along an axis, around the edges."""
    moved = [np.roll(field, step, axis) for step in range(-reach, reach + 1)]
    mean: Field = np.sum(moved, axis=0) / len(moved)
    return mean


def _spot(rng: np.random.Generator, stray: float = 9.0) -> tuple[float, float]:
    """Where a defect sits: near the middle, (row, column)."""
    row, column = _CENTRE + stray * (2 * rng.random(2) - 1)
    return float(row), float(column)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _edge(distance: Field, width: float = 1.0) -> Field:
    """1 inside (negative distance, px), 0 outside, a ramp of `width` px between."""
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _ellipse(rng: np.random.Generator, low: float, high: float) -> tuple[Field, float]:
    """Distance to the centre of a random ellipse in px of its mean radius, and that radius."""
    (row, column), angle = _spot(rng), np.pi * rng.random()
    squash, radius = _between(rng, 0.75, 1.0), _between(rng, low, high)
    dy, dx = _ROWS - row, _COLUMNS - column
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    return np.sqrt((u * squash) ** 2 + (v / squash) ** 2), radius


def _to_segment(a: Field, b: Field) -> Field:
    """Distance of each px to the segment from a to b, (row, column) each."""
    step = b - a
    along = ((_ROWS - a[0]) * step[0] + (_COLUMNS - a[1]) * step[1]) / max(step @ step, 1e-9)
    along = np.clip(along, 0.0, 1.0)
    distance: Field = np.hypot(_ROWS - a[0] - along * step[0], _COLUMNS - a[1] - along * step[1])
    return distance


def _blotches(rng: np.random.Generator, reach: int) -> Field:
    """Smooth noise of mean 0 and standard deviation 1."""
    field = rng.random((SIDE, SIDE))
    for _ in range(2):
        field = _smeared(_smeared(field, reach, 0), reach, 1)
    blotches: Field = (field - field.mean()) / field.std()
    return blotches


def _crack(metal: Field, rng: np.random.Generator) -> Field:
    heading, jag = 2 * np.pi * rng.random(), _between(rng, 0.5, 1.1)
    reach, distance = np.array(_spot(rng)), np.full((SIDE, SIDE), np.inf)
    for way in (0.0, np.pi):
        here = reach
        for _ in range(5):
            turn = heading + way + jag * (2 * rng.random() - 1)
            there = here + 3.6 * np.array([np.sin(turn), np.cos(turn)])
            distance = np.minimum(distance, _to_segment(here, there))
            here = there
    depth = _between(rng, 0.25, 0.7)
    return metal * (1 - depth * _edge(distance - _between(rng, 0.4, 0.9)))[..., None]


def _scratch(metal: Field, rng: np.random.Generator) -> Field:
    heading, middle = np.pi * rng.random(), np.array(_spot(rng))
    half = _between(rng, 7, 15) * np.array([np.sin(heading), np.cos(heading)])
    distance = _to_segment(middle - half, middle + half)
    width, strength = _between(rng, 0.4, 0.9), _between(rng, 0.2, 0.6)
    groove = strength * _edge(distance - width) - 0.5 * strength * _edge(distance - width - 1.2)
    return metal * (1 + groove)[..., None]


def _dent(metal: Field, rng: np.random.Generator) -> Field:
    distance, radius = _ellipse(rng, 5, 9)
    bowl = np.exp(-((distance / radius) ** 2) * 2)
    angle = 2 * np.pi * rng.random()
    slope: Field = np.cos(angle) * np.gradient(bowl, axis=1) + np.sin(angle) * np.gradient(
        bowl, axis=0
    )
    return metal * (1 + _between(rng, 1.0, 3.0) * slope)[..., None]


def _hole(metal: Field, rng: np.random.Generator) -> Field:
    distance, radius = _ellipse(rng, 2.5, 6)
    rim = _edge(np.abs(distance - radius) - 0.8) * _between(rng, 0.0, 0.35)
    inside = _edge(distance - radius, 1.5) * _between(rng, 0.3, 0.75)
    return metal * (1 + rim - inside)[..., None]


def _pits(metal: Field, rng: np.random.Generator) -> Field:
    shade = np.zeros((SIDE, SIDE))
    for row, column, size in rng.random((int(_between(rng, 14, 50)), 3)):
        distance = np.hypot(_ROWS - SIDE * row, _COLUMNS - SIDE * column)
        shade = np.maximum(shade, _edge(distance - 0.6 - 1.1 * size))
    return metal * (1 - _between(rng, 0.2, 0.6) * shade)[..., None]


def _rust(metal: Field, rng: np.random.Generator) -> Field:
    cover = _edge(-_blotches(rng, 3) + _between(rng, 0.0, 0.8), 0.8)
    cover *= _between(rng, 0.3, 1.0) * np.clip(1 + 0.3 * _blotches(rng, 1), 0, 1.5)
    brown = np.array([0.95, 0.68, 0.5]) * _between(rng, 0.75, 1.0)
    return metal * (1 - np.clip(cover, 0, 1)[..., None] * (1 - brown))


def _sound(metal: Field, rng: np.random.Generator) -> Field:
    return metal


def _stain(metal: Field, rng: np.random.Generator) -> Field:
    distance, radius = _ellipse(rng, 6, 10)
    distance = distance + 1.2 * _blotches(rng, 3)
    film = _edge(distance - radius, 5.0) + 0.6 * _edge(np.abs(distance - radius) - 1.0, 2.0)
    tint = 1 - _between(rng, 0.12, 0.4) * np.array([1.0, 0.9, 0.7])
    return metal * (1 - np.clip(film, 0, 1.4)[..., None] * (1 - tint))


CLASSES: dict[str, Callable[[Field, np.random.Generator], Field]] = {
    "crack": _crack,
    "dent": _dent,
    "hole": _hole,
    "pits": _pits,
    "rust": _rust,
    "scratch": _scratch,
    "sound": _sound,
    "stain": _stain,
}
"""Class name -> what is drawn on the metal; sorted, so that a folder per class keeps the order."""
