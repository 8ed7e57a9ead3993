"""What share of a scan is spent on decoding JPEG files, by Pillow and by simplejpeg.

    python benchmarks/decoding.py [--images 48] [--side 320]

Photos are made: waves and noise, quality 90, 4:2:0. The pixels of both decoders are compared. The
scan is of a small net in one thread; its share is that of the processor time of decoding alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.data import Decoded, Geometry, decode, jpeg, open_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--side", type=int, default=320)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), chosen.images, chosen.side)
        fast = jpeg._decoder
        timed(Path(folder), chosen.side)  # imports, and files into memory
        pixels = {}
        for name, decoder in (("Pillow", lambda: None), ("simplejpeg", fast)):
            if name == "simplejpeg" and fast() is None:
                print('simplejpeg is not installed: pip install "equiaudit[jpeg]"')
                return
            jpeg._decoder = decoder
            pixels[name], decoding, scanning = timed(Path(folder), chosen.side)
            share = 100 * decoding / scanning
            print(f"{name}: decoding {decoding:.2f} s, scan {scanning:.2f} s, {share:.0f}%")
        same = all(map(np.array_equal, pixels["Pillow"], pixels["simplejpeg"]))
        print(f"pixels equal: {same}")


def write(folder: Path, count: int, side: int) -> None:
    y, x = np.mgrid[:side, :side]
    for i in range(count):
        noise = 10 * np.random.default_rng(i).normal(size=(side, side, 3))
        waves = np.stack([np.sin(x / (5 + i)), np.cos(y / 9), np.sin((x + y) / 13)], -1)
        image = Image.fromarray((127 + 90 * waves + noise).clip(0, 255).astype(np.uint8))
        image.save(folder / f"{i:03}.jpg", quality=90)


def timed(folder: Path, side: int) -> tuple[list[np.ndarray], float, float]:
    """Pixels, and seconds of processor time for decoding alone and for a scan."""
    start = time.process_time()
    found = [decode(item, Geometry((side, side))) for item in open_dataset(folder).items]
    decoding = time.process_time() - start
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 10),
    ).eval()  # fmt: skip
    start = time.process_time()
    equiaudit.scan(
        net, folder, size=(side, side), mean=(0.5,) * 3, std=(0.5,) * 3, shifts=("circular",),
        max_shift=4, offsets=4, images=False, workers=1, backend="torch",
    )  # fmt: skip
    scanning = time.process_time() - start
    return [each.pixels for each in found if isinstance(each, Decoded)], decoding, scanning


if __name__ == "__main__":
    main()
