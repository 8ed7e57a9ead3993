"""How much slower a scan is than the bare model on ready tensors, same number of batches.

    python benchmarks/scan_overhead.py --cases DIR

DIR holds the real weights and images (`cifar10/`, `imagenet/`). Start-up is left out. Scan
and bare passes alternate in one process; the figure is the median of the paired ratios.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

import equiaudit
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.data import open_dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, model, data, options in _settings(arguments.cases):
        scans, bares = zip(
            *(_round(model, data, options) for _ in range(arguments.rounds)), strict=True
        )
        ratios = [a / b for a, b in zip(scans, bares, strict=True)]
        print(
            f"{name}: scan {statistics.median(scans):.2f} s, bare {statistics.median(bares):.2f} s"
            f", ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


def _settings(cases: Path):
    cifar = equiaudit.load_model(
        cases / "cifar10/weights/resnet20-12fca82f.th",
        arch="nets:resnet20",
        size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    data = open_dataset(cases / "cifar10/images", num_classes=10, limit=256)
    circular = ScanOptions(shifts=("circular", "zero-pad"), images=False)
    yield "ResNet-20, CIFAR-10, 256 images", cifar, data, circular
    squeeze = equiaudit.load_model(
        cases / "imagenet/weights/squeezenet1_1_torchvision.pt",
        arch="torchvision:squeezenet1_1",
        size=(224, 224),
        mean=(123 / 255, 117 / 255, 104 / 255),
        std=(1 / 255,) * 3,
    )
    photos = open_dataset(cases / "imagenet/images", labels=cases / "imagenet/labels.csv", limit=24)
    yield "SqueezeNet 1.1, 224 px, 24 photos", squeeze, photos, ScanOptions(images=False)


def _round(model, data, options: ScanOptions) -> tuple[float, float]:
    start = time.perf_counter()
    done, _ = run_scan(model, data, options)
    scan = time.perf_counter() - start
    timings = done.result.timings
    batch = torch.randn(timings.batch_size, 3, *model.preprocess.size)
    batches = -(-timings.passes // timings.batch_size)
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(batches):
            model.run(batch)
    return scan, time.perf_counter() - start


if __name__ == "__main__":
    main()
