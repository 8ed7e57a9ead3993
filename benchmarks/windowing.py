"""What leaving the border out of choices buys under crops, and costs on the circle.

    python benchmarks/windowing.py
    python benchmarks/windowing.py --scenes ../shared/cases/imagenet/images --size 224

How often the origin of APS at stride 2 follows the content, over shifts of 1 to 4 px each way:
drawn objects in front of a busy strip at the border, drawn noise, or one's own images.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equiaudit.sampling import APSSelector, window_trade

SHIFTS = [s for s in itertools.product(range(5), repeat=2) if s != (0, 0)]
REACH = 8


def drawn(size: int, count: int = 64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = size + REACH
    strip = torch.zeros(count, 1, side, side)
    middle = slice(side * 2 // 5, side * 3 // 5)
    strip[..., middle, middle] = torch.randn(strip[..., middle, middle].shape, generator=generator)
    strip[..., :REACH] = 4 * torch.randn(count, 1, side, REACH, generator=generator)
    noise = torch.randn(count, 1, side, side, generator=generator)
    return {"objects behind a busy strip": strip, "noise": noise}


def photographs(folder: Path, size: int, count: int = 64) -> dict[str, Tensor]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    side = size + REACH
    images = []
    for file in files[:count]:
        picture = Image.open(file).convert("RGB")
        if min(picture.size) >= side:
            images.append(np.asarray(picture)[:side, :side])
    return {folder.name: torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, help=f"images larger than SIZE + {REACH} px")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--widths", type=int, nargs="*", default=(0, 1, 2, 4, 8))
    args = parser.parse_args()
    torch.set_num_threads(1)
    sources = drawn(args.size)
    if args.scenes is not None:
        sources |= photographs(args.scenes, args.size)
    print("| scenes | window, px | follows a circular shift, % | follows a crop, % |")
    print("|---|---|---|---|")
    for name, scenes in sources.items():
        trades = window_trade(
            lambda x, width: APSSelector(2, window=width)(x).origin,
            scenes,
            size=(args.size, args.size),
            stride=2,
            widths=args.widths,
            shifts=SHIFTS,
        )
        for t in trades:
            print(f"| {name} | {t.width} | {100 * t.circular:.1f} | {100 * t.crop:.1f} |")


if __name__ == "__main__":
    main()
