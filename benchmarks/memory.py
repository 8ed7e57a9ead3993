"""Peak memory of a scan against the number of images.

    python benchmarks/memory.py [--images 1000,20000]

Each scan runs in a process of its own: generated images of 40 px, a trivial model of 32 px,
16 offsets of each kind. Printed are the peak resident memory before the scan (Python and torch
as they are imported), during it, and what the most images take beside the fewest. The target is
that 20,000 images take 3% or 10 MB more than 1,000.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="1000,20000")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_scan(*map(Path, arguments.one))))
        return
    rows = [_measure(int(count)) for count in arguments.images.split(",")]
    print(f"{'images':>7}  {'passes':>9}  {'imported, MB':>12}  {'peak, MB':>8}  {'seconds':>7}")
    for row in rows:
        print(
            f"{row['images']:>7}  {row['passes']:>9}  {row['before']:12.0f}  {row['peak']:8.0f}"
            f"  {row['seconds']:7.0f}"
        )
    first, last = rows[0], rows[-1]
    if last["images"] > first["images"]:
        more = last["peak"] - first["peak"]
        each = more / (last["images"] - first["images"])
        print(f"peak {more:+.0f} MB, {more / first['peak']:+.1%}; {each * 1000:.1f} kB per image")


def _measure(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "images")
        _write(pictures, count)
        command = [sys.executable, __file__, "--one", str(pictures), str(Path(folder, "out"))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _write(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(min(count, DISTINCT)):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:06}.png")
    for i in range(DISTINCT, count):
        os.link(folder / f"{i % DISTINCT:06}.png", folder / f"{i:06}.png")


def _scan(folder: Path, output: Path) -> dict[str, float]:
    import torch
    from torch import nn

    import equiaudit

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 10, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    how = {"size": (32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3, "device": "cpu"}
    equiaudit.load_model(net.eval(), **how)
    before, started = _peak_mb(), time.perf_counter()
    result = equiaudit.scan(net, folder, max_shift=4, images=False, output=output, **how)
    return {
        "images": result.fingerprint.n_images,
        "passes": result.timings.passes,
        "before": before,
        "peak": _peak_mb(),
        "seconds": time.perf_counter() - started,
    }


def _peak_mb() -> float:
    """Of this process so far; `ru_maxrss` counts 1024 bytes on Linux and bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
