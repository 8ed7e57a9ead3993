"""Peak memory of a scan of dense outputs: 1024x1024, 21 classes, few images against many.

    python benchmarks/dense_memory.py

A scan may hold a few batches of outputs, never the data set. Each scan runs in a process of
its own; what is printed is how far its peak rises above that of a process that has loaded
everything and scanned one image at 64x64.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SIDE, CLASSES, BATCH = 1024, 21, 2
OUTPUT_MIB = CLASSES * SIDE * SIDE * 4 / 2**20
MARGIN = 8


def scan_images(count: int, side: int) -> None:
    """Scan `count` images with a 1x1 convolution; print the peak RSS, MiB."""
    import numpy as np
    import torch
    from PIL import Image

    from equiaudit import scan

    torch.set_num_threads(1)
    net = torch.nn.Conv2d(3, CLASSES, 1).eval()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("images", "masks"):
            Path(folder, kind).mkdir()
        rng = np.random.default_rng(0)
        whole = side + 2 * MARGIN
        for i in range(count):
            pixels = rng.integers(0, 256, (whole, whole, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path(folder, "images", f"{i}.png"), compress_level=1)
            mask = np.repeat(np.repeat(pixels[::16, ::16, 0] % CLASSES, 16, 0), 16, 1)
            Image.fromarray(mask[:whole, :whole]).save(Path(folder, "masks", f"{i}.png"))
        scan(
            net,
            folder,
            size=(side, side),
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            max_shift=MARGIN,
            offsets=2,
            device="cpu",
            backend="torch",
        )
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def peak(count: int, side: int) -> float:
    """Of a scan in a process of its own, MiB."""
    command = [sys.executable, __file__, "--scan", str(count), "--side", str(side)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the peaks side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=int, help="scan so many images and print the peak")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--images", type=int, nargs=2, default=(2, 12))
    args = parser.parse_args()
    if args.scan:
        scan_images(args.scan, args.side)
        return
    floor = peak(1, 64)
    print(f"one output {OUTPUT_MIB:.0f} MiB, a batch of {BATCH} {BATCH * OUTPUT_MIB:.0f} MiB")
    print(f"loaded, one image of 64x64: {floor:.0f} MiB")
    for count in args.images:
        above = peak(count, SIDE) - floor
        held = above / (BATCH * OUTPUT_MIB)
        everything = count * OUTPUT_MIB
        print(
            f"{count} images of {SIDE}x{SIDE}: {above:.0f} MiB above, {held:.1f} batches of "
            f"outputs; all outputs together are {everything:.0f} MiB"
        )


if __name__ == "__main__":
    main()
