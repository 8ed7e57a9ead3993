"""Whether shifts pay best on images whose unshifted margin is small.

    python benchmarks/early_stop.py --allocate [--cases DIR [--cache FILE]]

The margin (difference of the two largest logits) of the unshifted image says how likely a shift
changes the label. Here an image gets its shifts with probability p(margin), and 1 - consistency,
y, counts y / p (Horvitz-Thompson), a figure in [0, 1 / min p] whose mean is still that of y. p is
chosen before the image is shifted, so the betting bound still holds at any time. Of a verdict that
takes n images the passes are n (1 + K E[p]), and n grows with E[y^2 / p] - E[y]^2; the product is
least at

    p(margin) = sqrt(E[y^2 | margin] (1 + K E[p]) / (K (E[y^2 / p] - E[y]^2))),

cut to [least, 1]. `least` matters because a bet against a mean above the gate cannot stake more
than 1 / (1 / least - gate) per unit, where one at odds would stake (gate - mean) / variance: the
farther the gate, the larger `least`. Three policies, which know the gate and not the truth: "known"
takes all expectations from the population, as nobody can; "learned" from the images before, in bins
of margin, beginning with p = 1; "halved" has p = 1/2 for margins above the median of the first
images, else 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.metrics.classification import consistency

if TYPE_CHECKING:
    from real_cases import Case

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int], int], tuple[Floats, Floats]]

GOAL = np.log(2 / 0.05)
STAKES = np.array([1.0, 0.75, *(0.5 ** np.arange(1, 11))])
OFFSETS = (2, 3, 4)
GAPS = (-0.05, -0.02, 0.02, 0.05)
BINS, BLOCK, START = 8, 50, 100
LATENT = 16
"""Shifts per simulated image, for its place in the population."""


@dataclass(frozen=True)
class World:
    """`draw(rng, (streams, images), k)` gives margins and 1 - consistency over k shifts."""

    name: str
    truth: float
    variance: float
    draw: Draw


@dataclass(frozen=True)
class Chances:
    """How likely images of each bin of margin are shifted, per stream or for all: (S, ...)."""

    edges: Floats
    """(S, BINS - 1)"""
    squares: Floats
    """(S, BINS) mean of y^2."""
    weights: Floats
    """(S, BINS) share of the images."""
    mean: Floats
    """(S, 1) mean of y."""

    def probabilities(self, paid: int, gate: float, lowest: float) -> tuple[Floats, Floats]:
        """(S, BINS) p, and (S, 1) the least that it was cut to."""
        p, least = np.ones_like(self.squares), np.full_like(self.mean, lowest)
        for _ in range(6):
            spread = (self.weights * self.squares / p).sum(axis=1, keepdims=True) - self.mean**2
            spread = np.maximum(spread, 1e-6)
            room = gate + spread / np.maximum(gate - self.mean, 1e-9)
            least = np.where(gate > self.mean, np.clip(1 / room, lowest, 1), lowest)
            cost = 1 + paid * (self.weights * p).sum(axis=1, keepdims=True)
            p = np.clip(np.sqrt(self.squares * cost / (paid * spread)), least, 1)
        return p, least


def run(cases: Path | None, cache: Path | None, streams: int) -> None:
    """Print what allocation by margin saves, and how often its verdicts are wrong."""
    worlds = [_simulated(spread) for spread in (0.18, 0.022)]
    if cases is not None:
        worlds += _measured(cases, cache)
    print_savings(worlds, streams)
    print_errors(worlds, 20 * streams)


def print_savings(worlds: list[World], streams: int) -> None:
    print("\nMean passes to a verdict: the present scheme with the best of 2, 3 and 4 offsets, and")
    print("allocation by margin with the best of these. Shifts of 1 or 3 kinds, the gate on one.\n")
    header = "world              kinds  gate - truth  present"
    print(f"{header}  {'known':15}  {'learned':15}  {'halved':15}  wrong")
    for world in worlds:
        for kinds in (1, 3):
            for gap in GAPS:
                if 0 < world.truth + gap < 1:
                    print(_row(world, kinds, gap, streams), flush=True)


def _row(world: World, kinds: int, gap: float, streams: int) -> str:
    present, _ = _best(world, kinds, gap, _everything, streams)
    cells, wrong = [], 0.0
    for policy in (_known(world), _learned, _halved):
        passes, errors = _best(world, kinds, gap, policy, streams)
        cells.append(f"{passes:7.0f} ({present / passes:.2f}x)")
        wrong = max(wrong, errors)
    start = f"{world.name:17}  {kinds:5}  {gap:+12.2f}  {present:7.0f}"
    return f"{start}  {'  '.join(cells)}  {wrong:5.1%}"


def _best(
    world: World, kinds: int, gap: float, policy: Policy, streams: int
) -> tuple[float, float]:
    """Mean passes with the best number of offsets, and the share of wrong verdicts there."""
    return min(Trial(world, gap, policy, k, kinds).passes(streams) for k in OFFSETS)


def print_errors(worlds: list[World], streams: int) -> None:
    images = 2000
    print(f"\nWrong verdicts: the gate is at the truth, {streams} streams of {images} images each;")
    print("at most 5% are allowed.\n")
    print("world              learned  halved")
    for world in worlds:
        shares = [
            Trial(world, 0.0, policy, 3).settled(streams, images) for policy in (_learned, _halved)
        ]
        print(f"{world.name:17}  " + "  ".join(f"{share:7.2%}" for share in shares), flush=True)


@dataclass(frozen=True)
class Streams:
    """S streams of N images each, and the gate."""

    margins: Floats
    y: Floats
    k: int
    paid: int
    """Shifts that an image costs, of all kinds."""
    gate: float
    """Of y."""
    luck: Floats
    """Uniform in [0, 1]: an image is shifted where it lies below p."""


Policy = Callable[[Streams], tuple[Floats, Floats, Floats]]
"""p, whether shifted, and the least p, (S, N) each."""


def _everything(streams: Streams) -> tuple[Floats, Floats, Floats]:
    ones = np.ones_like(streams.y)
    return ones, ones, ones


def _known(world: World) -> Policy:
    def policy(streams: Streams) -> tuple[Floats, Floats, Floats]:
        drawn, y = world.draw(np.random.default_rng(1), (1, 200_000), streams.k)
        edges = _edges(drawn)
        chances = _Tally.of(_bins(drawn, edges), y).chances(edges)
        odds, least = chances.probabilities(streams.paid, streams.gate, 0.05)
        p = odds[0][_bins(streams.margins, edges)]
        return p, (streams.luck < p) * 1.0, np.full_like(p, least[0, 0])

    return policy


def _learned(streams: Streams) -> tuple[Floats, Floats, Floats]:
    y = streams.y
    p, least, shifted = (np.ones_like(y) for _ in range(3))
    edges = _edges(streams.margins[:, :START])
    bins = _bins(streams.margins, edges)
    tally = _Tally.of(bins[:, :START], y[:, :START])
    for start in range(START, y.shape[1], BLOCK):
        now = np.s_[:, start : start + BLOCK]
        odds, least[now] = tally.chances(edges).probabilities(streams.paid, streams.gate, 0.5)
        p[now] = np.take_along_axis(odds, bins[now], axis=1)
        shifted[now] = streams.luck[now] < p[now]
        tally += _Tally.of(bins[now], y[now], shifted[now] / p[now])
    return p, shifted, least


def _halved(streams: Streams) -> tuple[Floats, Floats, Floats]:
    middle = np.median(streams.margins[:, :START], axis=1, keepdims=True)
    p = np.ones_like(streams.y)
    p[:, START:][streams.margins[:, START:] > middle] = 0.5
    shifted = np.asarray(streams.luck < p, np.float64)
    return p, shifted, np.full_like(p, 0.5)


@dataclass(frozen=True)
class _Tally:
    """Sums over images per stream and bin, (S, BINS) each."""

    images: Floats
    y: Floats
    squares: Floats

    @classmethod
    def of(cls, bins: NDArray[np.intp], y: Floats, weights: Floats | float = 1.0) -> _Tally:
        size = len(y) * BINS
        flat = (bins + np.arange(len(y))[:, None] * BINS).ravel()
        each = (np.ones_like(y), weights * y, weights * y**2)
        sums = [np.bincount(flat, v.ravel(), size).reshape(-1, BINS) for v in each]
        return cls(*(total.astype(np.float64) for total in sums))

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(self.images + other.images, self.y + other.y, self.squares + other.squares)

    def chances(self, edges: Floats) -> Chances:
        """A bin begins as one image of the average kind."""
        n = self.images.sum(axis=1, keepdims=True)
        overall = self.squares.sum(axis=1, keepdims=True) / n
        squares = (self.squares + overall) / (self.images + 1)
        return Chances(edges, squares, self.images / n, self.y.sum(axis=1, keepdims=True) / n)


def _edges(margins: Floats) -> Floats:
    """(S, n) margins -> (S, BINS - 1) quantiles."""
    return np.asarray(np.quantile(margins, np.arange(1, BINS) / BINS, axis=1).T)


def _bins(margins: Floats, edges: Floats) -> NDArray[np.intp]:
    """(S, n) margins -> the bin of each; `edges` (S, BINS - 1), or (1, BINS - 1) for all."""
    found = np.zeros(margins.shape, np.intp)
    for edge in edges.T:
        found += margins > edge[:, None]
    return found


@dataclass(frozen=True)
class Trial:
    """A gate `gap` above the truth, met with `k` offsets of each of `kinds` kinds of shift."""

    world: World
    gap: float
    policy: Policy
    k: int
    kinds: int = 1

    def passes(self, streams: int) -> tuple[float, float]:
        """Their mean until a verdict, and the share of verdicts that are wrong."""
        images = round(1500 + 80 * self.world.variance / self.gap**2)
        total, wrong = 0.0, 0
        for seed, piece in enumerate(_pieces(streams, images)):
            above, below, cost = self._ends(piece, images, seed)
            ended = np.minimum(above, below)
            if ended.max() > images:
                raise RuntimeError(f"a stream of {images} images did not settle: {self}")
            total += float(cost[np.arange(piece), ended - 1].sum())
            wrong += int(((below < above) if self.gap > 0 else (above < below)).sum())
        return total / streams, wrong / streams

    def settled(self, streams: int, images: int) -> float:
        """The share of streams that come to any verdict within so many images."""
        ended = 0
        for seed, piece in enumerate(_pieces(streams, images)):
            above, below, _ = self._ends(piece, images, seed)
            ended += int((np.minimum(above, below) <= images).sum())
        return ended / streams

    def _ends(
        self, count: int, images: int, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Images until y is known to lie above and below its gate, and the passes up to each."""
        rng = np.random.default_rng(seed)
        margins, y = self.world.draw(rng, (count, images), self.k)
        gate, paid = 1 - self.world.truth - self.gap, self.k * self.kinds
        p, shifted, least = self.policy(
            Streams(margins, y, self.k, paid, gate, rng.random(y.shape))
        )
        figures = shifted * y / p
        above = _first((figures - gate) / gate)
        below = _first((gate - figures) / (1 / least - gate))
        return above, below, np.cumsum(1 + paid * shifted, axis=1)


def _first(won: Floats) -> NDArray[np.intp]:
    """Images until a gambler who wins `won` >= -1 per unit staked has the capital to say so."""
    capital = np.full(won.shape, -np.inf)
    for stake in STAKES:
        with np.errstate(divide="ignore"):
            growth = np.log(np.maximum(1 + stake * won, 0))
        np.logaddexp(capital, np.cumsum(growth, axis=1), out=capital)
    over = capital - np.log(len(STAKES)) >= GOAL
    never = won.shape[1] + 1
    return np.asarray(np.where(over.any(axis=1), over.argmax(axis=1) + 1, never))


def _pieces(streams: int, images: int) -> list[int]:
    most = max(1, 1_500_000 // images)
    return [min(most, streams - start) for start in range(0, streams, most)]


def _simulated(spread: float) -> World:
    """Margins are exponential with mean 1; a shift moves one by a normal of sd `spread`."""

    def draw(rng: np.random.Generator, shape: tuple[int, int], k: int) -> tuple[Floats, Floats]:
        margins = rng.exponential(size=shape)
        second = (margins[..., None] + rng.normal(0, spread, (*shape, k)) < 0).sum(axis=2)
        first = k - second
        same = second * (second - 1) + first * (first - 1)
        return margins, 1 - same / (k * (k - 1))

    sample = draw(np.random.default_rng(1), (1000, 1000), 2)[1]
    truth = 1 - float(sample.mean())
    return World(f"simulated {truth:.3f}", truth, float(sample.var()), draw)


def _measured(cases: Path, cache: Path | None) -> list[World]:
    """ResNet-20 on CIFAR-10 and SqueezeNet on photos, circular shifts."""
    own = None if cache is None else cache.with_stem(f"{cache.stem}-margins")
    if own is not None and own.is_file():
        kept = dict(np.load(own))
    else:
        kept = _swept(cases)
        if own is not None:
            np.savez(own, **kept)  # type: ignore[arg-type]
    return [_drawn(name, kept[f"{name} margins"], kept[f"{name} labels"]) for name in _NAMES]


_NAMES = ("ResNet-20", "SqueezeNet")


def _swept(cases: Path) -> dict[str, NDArray[Any]]:
    from real_cases import cifar10, photos

    kept: dict[str, NDArray[Any]] = {}
    for name, case, most in zip(
        _NAMES, (cifar10(cases, None), photos(cases, None)), (4, 16), strict=True
    ):
        found = [_sweep(case, index, most) for index in range(len(case.images))]
        kept[f"{name} margins"] = np.array([margin for margin, _ in found])
        kept[f"{name} labels"] = np.stack([labels for _, labels in found])
    return kept


def _sweep(case: Case, index: int, most: int) -> tuple[float, NDArray[Any]]:
    """The unshifted margin of one image, and its labels under LATENT shifts of up to `most` px."""
    import torch

    rng = np.random.default_rng(index)
    grid = [(y, x) for y in range(-most, most + 1) for x in range(-most, most + 1) if y or x]
    offsets = [grid[i] for i in rng.choice(len(grid), LATENT, replace=False)]
    side, window = case.images.shape[-1], case.model.preprocess.size[0]
    edge = (side - window) // 2
    image = case.images[index, :, edge : edge + window, edge : edge + window]
    moved = [torch.roll(image, offset, (1, 2)) for offset in offsets]
    outputs = case.model.run(case.prepared(torch.stack([image, *moved]))).numpy()
    second, first = np.sort(outputs[0])[-2:]
    return float(first - second), outputs[1:].argmax(axis=1)


def _drawn(name: str, margins: Floats, labels: NDArray[Any]) -> World:
    """Images drawn with replacement, their shifts without."""

    def draw(rng: np.random.Generator, shape: tuple[int, int], k: int) -> tuple[Floats, Floats]:
        rows = rng.integers(0, len(margins), shape)
        picks = rng.random((rows.size, labels.shape[1])).argpartition(k, axis=1)[:, :k]
        flips = 1 - consistency(labels[rows.reshape(-1, 1), picks])
        return margins[rows], flips.reshape(shape)

    truth = float(consistency(labels).mean())
    return World(f"{name} {truth:.3f}", truth, truth * (1 - truth), draw)
