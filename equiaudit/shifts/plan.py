"""Which offsets every image is moved by: a pure function of (seed, image index).

An offset (dy, dx) moves the content down by dy and right by dx, px at the model's input. Kinds
that move by fractions have offsets in steps of a fraction; they are drawn as whole ones are, of a
square with as many more places.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equiaudit.errors import InputError
from equiaudit.kinds import FINEST, FRACTION, KINDS, RESAMPLERS, Kind
from equiaudit.shifts.contrasts import Contrast, contrast_for
from equiaudit.shifts.protocols import PROTOCOLS, Protocol
from equiaudit.shifts.series import Series
from equiaudit.shifts.sliding import CAPS

DRAW = "dealt"
"""How offsets are drawn, as results state it: see `_dealt`."""

_MOST_PLACES = 513

Offsets = NDArray[Any]
"""(..., 2) px: int64, or float64 where they may be fractions."""


@dataclass(frozen=True)
class ShiftPlan:
    """The offsets of a whole run."""

    series: tuple[Series, ...]
    seed: int
    window: tuple[int, int]
    stride: tuple[int, int] | None = None
    protocol: str | None = None
    aligned: bool = True
    """Whether contrasts are wanted at all."""
    paired: bool = False
    """Whether the task compares shifted outputs with one another."""

    @property
    def margin(self) -> int:
        """Real pixels needed beyond the window on every side."""
        return max((series.margin for series in self.series), default=0)

    @property
    def reach(self) -> int:
        """Largest displacement along an axis, contrasts included."""
        far = [max(abs(s.low), abs(s.high)) for s in self.series]
        return max(far + [side for contrast in self.contrasts for side in contrast.limit])

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The views that tell sampling from the border, for every kind that has them."""
        if not self.aligned or self.protocol is not None or self.stride is None:
            return ()
        found = (self._contrast(s, self.stride) for s in self.series if s.moves.border)
        return tuple(contrast for contrast in found if contrast)

    def _contrast(self, series: Series, stride: tuple[int, int]) -> Contrast | None:
        room = series.reach if series.moves.real else None
        return contrast_for(series.kind, stride, room, series.reach, paired=self.paired)

    @property
    def fractional(self) -> bool:
        """Whether some offsets are fractions."""
        return any(series.parts > 1 for series in self.series)

    @property
    def moves(self) -> dict[str, Kind]:
        """How pixels move in every pass, by name: of the series, and of the contrasts."""
        named = {name: KINDS[c.kind] for c in self.contrasts for name in c.names}
        return {s.name: s.moves for s in self.series} | named

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the series: shift kinds, or the protocol."""
        return tuple(s.name for s in self.series)

    def offsets(self, series: Series, index: int) -> Offsets:
        """(K, 2) offsets of image `index`; equal for every kind with the same range."""
        if series.pair:
            rng = np.random.default_rng([self.seed, index])
            return rng.integers(series.low, series.high, size=(2, 2), endpoint=True)
        if series.given is not None:
            return _px(np.array(series.given, np.int64), series.parts)
        low, high = series.low * series.parts, series.high * series.parts
        grid = _grid(low, high)
        if series.count is None or series.count >= len(grid):
            return _px(grid, series.parts)
        return _px(_dealt(self.seed, index, low, high, series.count), series.parts)

    def contrast_offsets(self, index: int) -> dict[str, Offsets]:
        """The offsets of all contrasts of image `index`, by name."""
        return {
            name: offsets
            for contrast in self.contrasts
            for name, offsets in contrast.offsets(self.seed, index).items()
        }

    def passes_per_image(self) -> int:
        """Images through the model per source image, the unshifted one included."""
        total = 1 + sum(len(self.offsets(s, 0)) for s in self.series)
        return total + sum(map(len, self.contrast_offsets(0).values()))

    def describe(self) -> dict[str, Any]:
        """What the offsets depend on, as plain data; its hash is `hash`."""
        first = self.series[0]
        return {
            "kinds": [s.kind for s in self.series],
            "max_shift": max(-first.low, first.high),
            "range": [first.low, first.high],
            "offsets": "full" if first.count is None else first.count,
            "seed": self.seed,
            "window": list(self.window),
            "stride": None if self.stride is None else list(self.stride),
            "protocol": self.protocol,
        } | self._more()

    def _more(self) -> dict[str, Any]:
        """What is said only where it is so; plans without it keep their hash."""
        first = self.series[0]
        found: dict[str, Any] = {} if self.aligned else {"aligned": False}
        if first.count is not None and not first.pair:
            # Results from before offsets were dealt lack it, and are not to be compared.
            found["draw"] = DRAW
        leaves = self.protocol is not None and _known(self.protocol).leaves_shifts
        if leaves:
            found["leaves_shifts"] = True
        if self.protocol is None or leaves:
            for series in self.series:
                found |= series.steps
        elif not first.pair:
            each = {s.name: self.offsets(s, 0) for s in self.series}
            found["tried"] = {
                name: {"offsets": len(tried), "max_shift": float(np.abs(tried).max())}
                for name, tried in each.items()
            }
        return found

    @cached_property
    def hash(self) -> str:
        """sha256 over `describe`."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def make_plan(
    kinds: tuple[str, ...],
    *,
    window: tuple[int, int],
    max_shift: int = 16,
    offsets: int | Literal["full"] = 16,
    seed: int = 0,
    stride: tuple[int, int] | None = None,
    protocol: str | None = None,
    aligned: bool = True,
    paired: bool = False,
    fraction: int = FRACTION,
    resampler: str = RESAMPLERS[0],
) -> ShiftPlan:
    """Check the settings and make the plan; InputError says which setting is wrong.

    `fraction` and `resampler` are of kinds that move by fractions: steps to a pixel, and how the
    values between pixels are found.
    """
    known = None if protocol is None else _known(protocol)
    if known is not None and not known.leaves_shifts:
        return ShiftPlan(known.series(window), seed, window, stride, protocol)
    _check(kinds, max_shift, offsets)
    if not 1 <= fraction <= FINEST:
        raise InputError(f"--fraction is {fraction}; a pixel has 1 to {FINEST} steps.")
    places = 2 * max_shift * fraction + 1
    if places > _MOST_PLACES and any(KINDS[kind].fractional for kind in kinds):
        raise InputError(
            f"Shifts of up to {max_shift} px in steps of 1/{fraction} px are {places} along each"
            f" axis, and tables hold {_MOST_PLACES}.",
            tip="Give a smaller --max-shift or --fraction.",
        )
    if resampler not in RESAMPLERS:
        raise InputError(
            f"There is no resampler {resampler!r}.", tip=f"Choose from {_list(RESAMPLERS)}."
        )
    count = None if offsets == "full" else int(offsets)
    measures = () if known is None else known.measures
    series = tuple(
        Series(kind, kind, -max_shift, max_shift, count, parts=fraction, resampler=resampler)
        if KINDS[kind].fractional
        else Series(kind, kind, -max_shift, max_shift, count)
        for kind in kinds
    )
    series = tuple(replace(each, measures=measures) for each in series)
    return ShiftPlan(series, seed, window, stride, protocol, aligned=aligned, paired=paired)


def _known(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise InputError(
            f"There is no protocol {name!r}.", tip=f"Choose from {_list((*PROTOCOLS, CAPS))}."
        )
    return PROTOCOLS[name]


def _px(steps: NDArray[np.int64], parts: int) -> Offsets:
    return steps if parts == 1 else steps / parts


def _check(kinds: tuple[str, ...], max_shift: int, offsets: int | str) -> None:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        named = f"shift kind {unknown[0]!r} is unknown" if unknown else "kinds are empty or repeat"
        raise InputError(f"--shifts: {named}.", tip=f"Choose from {_list(KINDS)}.")
    if max_shift < 1:
        raise InputError(f"--max-shift is {max_shift}; it must be at least 1 px.")
    if isinstance(offsets, str):
        if offsets != "full":
            raise InputError(f"--offsets is {offsets!r}; it is a number or 'full'.")
    elif offsets < 2:
        raise InputError(f"--offsets is {offsets}; agreement between shifts needs at least 2.")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


@lru_cache(maxsize=8)
def _grid(low: int, high: int) -> Offsets:
    """All offsets of [low, high]^2 but (0, 0), row by row."""
    axis = np.arange(low, high + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid[np.any(grid != 0, axis=1)]


@lru_cache(maxsize=16)
def _shuffled(seed: int, deal: int, low: int, high: int) -> Offsets:
    """All offsets of the square in the random order of one deal, read-only."""
    grid = _grid(low, high)
    shuffled = grid[np.random.default_rng([seed, deal, 2]).permutation(len(grid))]
    shuffled.flags.writeable = False
    return shuffled


def _dealt(seed: int, index: int, low: int, high: int, count: int) -> Offsets:
    """The offsets of one image, without replacement, every set of `count` equally likely.

    One shuffle of the square serves as many images as it has hands of `count` offsets, in the
    order of their indices. A hand is a simple random sample, so figures of single offsets *and*
    of pairs have the mean of the full square for every net. Drawing the offsets of one image
    spread over the phases cannot have that: two of one phase must meet as often as in the square.
    Spread they are over images instead: no offset comes twice before the deal is over, so what
    all images answer alike cancels in the mean over them.
    """
    hands = ((high - low + 1) ** 2 - (low <= 0 <= high)) // count
    deal, hand = divmod(index, hands)
    return _shuffled(seed, deal, low, high)[hand * count : (hand + 1) * count]
