"""What ending a scan early costs and saves: wrong verdicts, and forward passes to a verdict.

    python benchmarks/early_stop.py [--cases DIR [--cache FILE]] [--allocate]

Streams of images, each with its consistency over K shifts, meet a gate; the scan ends at the
first image at which the betting bound lies on one side of it. Compared with the smallest fixed
number of images whose 95% interval settles the gate rightly in 95% of audits, which only one
who knew the truth could have chosen. A pass is one image through the model, the unshifted ones
counted. The streams are simulated, and with --cases drawn (images with replacement, shifts
without) from what ResNet-20 says about 1000 CIFAR-10 images; --cache keeps its labels.
--allocate tries instead whether shifts pay best on images of small margin (see allocation.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import allocation
import numpy as np

from equiaudit.metrics.anytime import log_capital
from equiaudit.metrics.classification import consistency
from equiaudit.metrics.intervals import ClusterLaw

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

ALPHA = 0.05
GOAL = np.log(2 / ALPHA)
POWER = 0.95
AUDITS = 400
OFFSETS = 16
Draw = Callable[[np.random.Generator, int, int], np.ndarray]


@dataclass(frozen=True)
class World:
    """Where streams come from: `draw(rng, streams, images)` gives consistencies."""

    name: str
    shifts: int
    truth: float
    variance: float
    draw: Draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--cache", type=Path, help="an .npz for the labels of ResNet-20")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument(
        "--allocate", action="store_true", help="try allocation by margin, on a tenth of --streams"
    )
    parser.add_argument("--images", type=int, default=3000, help="length of a stream")
    arguments = parser.parse_args()
    if arguments.allocate:
        allocation.run(arguments.cases, arguments.cache, max(1, arguments.streams // 10))
        return
    worlds = simulated()
    if arguments.cases:
        worlds += real(arguments.cases, arguments.cache)
    print_errors(worlds, arguments.streams, arguments.images)
    print_costs(worlds, arguments.streams)


def simulated() -> list[World]:
    """A share of the images wobbles; a shift of such an image takes the second of two labels."""
    kinds = ((0.15, 0.7, 0.92), (0.02, 0.7, 0.99), (0.6, 0.5, 0.7))
    return [_simulated(share, odds, k) for share, odds, _ in kinds for k in (2, 4)]


def _simulated(share: float, odds: float, k: int) -> World:
    def draw(rng: np.random.Generator, streams: int, images: int) -> np.ndarray:
        wobbles = rng.random((streams, images)) < share
        second = rng.binomial(k, odds, (streams, images)) * wobbles
        return (second * (second - 1) + (k - second) * (k - second - 1)) / (k * (k - 1))

    truth = 1 - share * 2 * odds * (1 - odds)
    sample = draw(np.random.default_rng(1), 1, 1_000_000)
    return World(f"simulated {truth:.3f}", k, truth, float(sample.var()), draw)


def real(cases: Path, cache: Path | None) -> list[World]:
    """ResNet-20 on CIFAR-10, circular shifts of up to 4 px."""
    if cache is not None and cache.is_file():
        labels = np.load(cache)["labels"]
    else:
        labels = _labels(cases / "cifar10")
        if cache is not None:
            np.savez(cache, labels=labels)
    return [_real(labels, k) for k in (2, 4)]


def _labels(folder: Path) -> np.ndarray:
    import equiaudit
    from equiaudit.audit.engine import run_scan
    from equiaudit.audit.options import ScanOptions
    from equiaudit.data import open_dataset

    model = equiaudit.load_model(
        folder / "weights/resnet20-12fca82f.th",
        arch="nets:resnet20",
        size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    options = ScanOptions(shifts=("circular",), max_shift=4, offsets=OFFSETS, images=False)
    _, journal = run_scan(model, open_dataset(folder / "images", num_classes=10), options)
    return np.array([r.series["circular"].predicted for _, r in sorted(journal.records.items())])


def _real(labels: np.ndarray, k: int) -> World:
    count, offsets = labels.shape

    def draw(rng: np.random.Generator, streams: int, images: int) -> np.ndarray:
        rows = rng.integers(0, count, (streams * images, 1))
        picks = rng.random((streams * images, offsets)).argpartition(k, axis=1)[:, :k]
        return consistency(labels[rows, picks]).reshape(streams, images)

    truth = float(consistency(labels).mean())
    sample = draw(np.random.default_rng(1), 1, 200_000)
    return World(f"ResNet-20 {truth:.3f}", k, truth, float(sample.var()), draw)


def print_errors(worlds: list[World], streams: int, images: int) -> None:
    print(f"\nWrong verdicts: the gate is at the truth, {streams} streams of {images} images")
    print("each, looked at after every image; at most 2.5% to either side are allowed.\n")
    print(f"{'world':>16}  K  above  below  either")
    for world in worlds:
        above, below = _ever(world, streams, images)
        print(f"{world.name:>16}  {world.shifts}  {above:5.2%}  {below:5.2%}  {above + below:6.2%}")


def _ever(world: World, streams: int, images: int) -> tuple[float, float]:
    rng, wrong = np.random.default_rng(2), np.zeros(2)
    for count in _pieces(streams, images):
        values = world.draw(rng, count, images)
        for side, hits in enumerate((_settled(values, world.truth), _settled_below(values, world))):
            wrong[side] += hits.sum()
    return wrong[0] / streams, wrong[1] / streams


def _settled(values: np.ndarray, threshold: float) -> np.ndarray:
    return (log_capital(values, threshold) >= GOAL).any(axis=1)


def _settled_below(values: np.ndarray, world: World) -> np.ndarray:
    return _settled(1 - values, 1 - world.truth)


def print_costs(worlds: list[World], streams: int) -> None:
    print(
        f"\nPasses to a verdict, {streams // 4} streams each; in brackets those of the fixed size"
    )
    print("that knew the truth, and the ratio of the means.\n")
    print(f"{'world':>16}  K  gate minus truth  median   mean  9 in 10  (fixed)  ratio  wrong")
    for world in worlds:
        for gap in (-0.05, -0.02, 0.02, 0.05):
            if 0 < world.truth + gap < 1:
                print(_cost_row(world, gap, streams // 4))


def _cost_row(world: World, gap: float, streams: int) -> str:
    fixed = _fixed_size(world, world.truth + gap)
    images = 10 * fixed + 500
    rng, ended, wrong = np.random.default_rng(3), [], 0
    for count in _pieces(streams, images):
        values = world.draw(rng, count, images)
        passes = _first(values, world.truth + gap)
        fails = _first(1 - values, 1 - world.truth - gap)
        ended.append(np.minimum(passes, fails))
        wrong += int(((passes < fails) if gap > 0 else (fails < passes)).sum())
    each = world.shifts + 1
    took = np.concatenate(ended) * each
    if took.max() > images * each:
        raise RuntimeError(f"a stream of {images} images did not settle {world.name} {gap:+}")
    return (
        f"{world.name:>16}  {world.shifts}  {gap:+16.2f}  {np.median(took):6.0f} {took.mean():6.0f}"
        f"  {np.quantile(took, 0.9):7.0f}  ({fixed * each:5})  {took.mean() / fixed / each:5.2f}"
        f"  {wrong}"
    )


def _fixed_size(world: World, threshold: float) -> int:
    """The fewest images, to 3%, whose 95% interval settles the gate rightly in 95% of audits."""
    low, high = 1.0, 4 * world.variance / (world.truth - threshold) ** 2 + 50
    while _power(world, threshold, round(high)) < POWER:
        low, high = high, 1.5 * high
    while high > 1.03 * low and high - low > 1:
        middle = (low * high) ** 0.5
        enough = _power(world, threshold, round(middle)) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return round(high)


def _power(world: World, threshold: float, images: int) -> float:
    values = world.draw(np.random.default_rng(4), AUDITS, images)
    weights = np.ones(images)
    bounds = (ClusterLaw.of(row, weights).bounds(row.size, 1 - ALPHA) for row in values)
    above = threshold > world.truth
    return sum(high < threshold if above else low >= threshold for low, high in bounds) / AUDITS


def _first(values: np.ndarray, threshold: float) -> np.ndarray:
    """Images until the bound has passed the threshold; more than there are where it never has."""
    over = log_capital(values, threshold) >= GOAL
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1, values.shape[1] + 1)


def _pieces(streams: int, images: int) -> list[int]:
    """Numbers of streams that fit into memory together."""
    most = max(1, 2_000_000 // images)
    return [min(most, streams - start) for start in range(0, streams, most)]


if __name__ == "__main__":
    main()
