"""How often the intervals of flip rates hold the truth, against BCa and the plain cluster interval.

python benchmarks/flip_coverage.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from equiaudit.metrics.flips import flip_interval
from equiaudit.metrics.intervals import bca_interval, mean_interval
from equiaudit.results import Estimate

RNG = np.random.default_rng(0)
Draw = Callable[[int], np.ndarray]


def rare(often: float) -> Draw:
    """Most images flip 0.05%, some 20%."""
    return lambda n: np.where(RNG.random(n) < often, RNG.beta(4, 16, n), RNG.beta(1, 2000, n))


WORLDS: dict[str, Draw] = {
    "every image, 0.1%": lambda n: RNG.beta(0.5, 500, n),
    "every image, 3%": lambda n: RNG.beta(1, 30, n),
    "every image, 20%": lambda n: RNG.beta(2, 8, n),
    "log-normal, 0.3%": lambda n: np.minimum(RNG.lognormal(-7, 1.5, n), 1),
    "half of the images, 4%": lambda n: (RNG.random(n) < 0.5) * RNG.beta(1, 24, n),
    "5% of the images flip 20%": rare(0.05),
    "1% of the images flip 20%": rare(0.01),
}
INTERVALS: dict[str, tuple[Callable[[np.ndarray], Estimate], int]] = {
    "scaled": (flip_interval, 1500),
    "plain": (mean_interval, 1500),
    "bca": (bca_interval, 150),
}


def main() -> None:
    for world, draw in WORLDS.items():
        truth = float(draw(4_000_000).mean())
        for n in (30, 100, 400):
            cells = [f"{name} {_covered(draw, truth, n, name)}" for name in INTERVALS]
            print(f"{world}, mean {truth:.3%}, {n} images: {', '.join(cells)}", flush=True)


def _covered(draw: Draw, truth: float, n: int, name: str) -> str:
    interval, audits = INTERVALS[name]
    found = [interval(draw(n)) for _ in range(audits)]
    pairs = [(e.low, e.high) for e in found if e.low is not None and e.high is not None]
    covered = sum(low <= truth <= high for low, high in pairs) / audits
    return f"{covered:.0%} (width {np.mean([high - low for low, high in pairs]):.2%})"


if __name__ == "__main__":
    main()
