"""Whether dealt offsets give the figures of all offsets, and intervals hold what they say.

    python benchmarks/dealing.py [--audits 300] [--images 60]

Nets that answer by place alone, the same for every image, are the worst case of offsets that
are dealt over images: their images are not independent. Shifts up to 2 px, stride 2, 4 offsets.
Printed per net: consistency of all offsets, the mean over the audits less that, the spread over
audits of consistency and agreement against offsets drawn for every image alone (below 1 is
narrower), how often the 95% interval of each holds the truth, and how often bounds that hold at
any time (`--early-stop`), looked at after every image, never exclude it.
"""

from __future__ import annotations

import argparse

import numpy as np

from equiaudit.metrics.anytime import log_capital
from equiaudit.metrics.classification import consistency
from equiaudit.metrics.intervals import mean_interval
from equiaudit.shifts import make_plan

REACH, COUNT, SIDE = 2, 4, 5
GOAL = np.log(40)


def nets() -> dict[str, np.ndarray]:
    axis = np.arange(-REACH, REACH + 1)
    rows, cols = np.meshgrid(axis, axis, indexing="ij")
    rng = np.random.default_rng(0)
    return {
        "by phase": rows % 2 * 2 + cols % 2,
        "on the grid or off it": (rows % 2 * 2 + cols % 2 == 0).astype(int),
        "all but phase": rows // 2 * 5 + cols // 2,
        "half plane": (rows + cols > 0).astype(int),
        "one offset of 24": (rows == REACH) * (cols == REACH).astype(int),
        "two labels at random": rng.integers(0, 2, rows.shape),
    }


def labels(net: np.ndarray, seed: int, images: int, count: int | str) -> np.ndarray:
    plan = make_plan(
        ("circular",), window=(8, 8), max_shift=REACH, offsets=count, seed=seed, stride=(2, 2)
    )
    offsets = np.stack([plan.offsets(plan.series[0], i) for i in range(images)]) + REACH
    return net[offsets[..., 0], offsets[..., 1]]


def alone(net: np.ndarray, rng: np.random.Generator, images: int) -> np.ndarray:
    answers = np.delete(net.ravel(), SIDE * SIDE // 2)
    return np.stack([rng.permutation(answers)[:COUNT] for _ in range(images)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=300)
    parser.add_argument("--images", type=int, default=60)
    a = parser.parse_args()
    print("net                     truth   bias     sd/sd alone    held        at any time")
    for name, net in nets().items():
        row = measured(net, a.audits, a.images)
        print(f"{name:22}" + " ".join(row))


def measured(net: np.ndarray, audits: int, images: int) -> list[str]:
    clean = net[REACH, REACH]
    everywhere = labels(net, 0, 1, "full")
    truths = consistency(everywhere)[0], (everywhere == clean).mean()
    dealt = [labels(net, seed, images, COUNT) for seed in range(audits)]
    rng = np.random.default_rng(1)
    drawn = [alone(net, rng, images) for _ in range(audits)]
    ratios, held, ever = [], [], []
    figures = (consistency, lambda found: (found == clean).mean(axis=1))
    for truth, figure in zip(truths, figures, strict=True):
        values = np.stack([figure(found) for found in dealt])
        spread = np.stack([figure(found) for found in drawn]).mean(axis=1).std()
        ratios.append(values.mean(axis=1).std() / spread if spread else 1.0)
        found = [mean_interval(each) for each in values]
        held.append(np.mean([e.low - 1e-12 <= truth <= e.high + 1e-12 for e in found]))
        below = log_capital(values, max(truth, 1e-9)).max(axis=1) < GOAL
        above = log_capital(1 - values, max(1 - truth, 1e-9)).max(axis=1) < GOAL
        ever.append(np.mean(below & above))
        if figure is consistency:
            bias = values.mean() - truth
    return [
        f"{truths[0]:7.4f} {bias:+.4f}",
        *(f" {each[0]:5.2f} {each[1]:5.2f} " for each in (ratios, held, ever)),
    ]


if __name__ == "__main__":
    main()
