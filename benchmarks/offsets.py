"""What drawing K offsets costs against taking all: bias and spread of consistency.

    python benchmarks/offsets.py --cases DIR

ResNet-20 on CIFAR-10 images, circular shifts, total stride 4. All offsets are run once; the
estimates at K offsets are then drawn from those predictions under many seeds: dealt over the
images as a scan does, and drawn for every image alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import equiaudit
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.data import open_dataset
from equiaudit.metrics.classification import consistency
from equiaudit.shifts import make_plan

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SEEDS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--max-shift", type=int, default=8)
    arguments = parser.parse_args()
    labels = _all_labels(arguments)
    reach = arguments.max_shift
    truth = consistency(labels).mean()
    print(f"{len(labels)} images, shifts up to {reach} px; all offsets: consistency {truth:.4f}")
    for count in (2, 4, 8, 16, 32):
        for name, draw in (("dealt", _dealt), ("each image alone", _alone)):
            picks = (draw(seed, len(labels), reach, count) for seed in range(SEEDS))
            each = [consistency(np.take_along_axis(labels, p, axis=1)).mean() for p in picks]
            found = np.array(each)
            print(f"K = {count:2}, {name:16}: {found.mean() - truth:+.4f}, sd {found.std():.4f}")


def _all_labels(arguments: argparse.Namespace) -> np.ndarray:
    cases = arguments.cases / "cifar10"
    model = equiaudit.load_model(
        cases / "weights/resnet20-12fca82f.th",
        arch="nets:resnet20",
        size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    data = open_dataset(cases / "images", num_classes=10, limit=arguments.images)
    options = ScanOptions(
        shifts=("circular",), max_shift=arguments.max_shift, offsets="full", images=False
    )
    _, journal = run_scan(model, data, options)
    records = [r for _, r in sorted(journal.records.items())]
    return np.array([r.series["circular"].predicted for r in records])


def _dealt(seed: int, images: int, reach: int, count: int) -> np.ndarray:
    """(n, K) places in the full square."""
    full = make_plan(("circular",), window=(32, 32), max_shift=reach, offsets="full")
    place = {tuple(o): i for i, o in enumerate(full.offsets(full.series[0], 0).tolist())}
    plan = make_plan(("circular",), window=(32, 32), max_shift=reach, offsets=count, seed=seed)
    hands = (plan.offsets(plan.series[0], i).tolist() for i in range(images))
    return np.array([[place[tuple(o)] for o in hand] for hand in hands])


def _alone(seed: int, images: int, reach: int, count: int) -> np.ndarray:
    rng, total = np.random.default_rng(seed), (2 * reach + 1) ** 2 - 1
    return np.stack([rng.permutation(total)[:count] for _ in range(images)])


if __name__ == "__main__":
    main()
