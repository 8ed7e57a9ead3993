"""A trained net converted by every method, before any training: accuracy, agreement, time.

    python benchmarks/converted.py resnet20.th --arch nets:resnet20 --images cifar10/images

--arch is found as in `equiaudit fix`. Consistency: the label is the same under two different
circular shifts, one pair per image; exact: the pair agrees in every bit. Intervals: Wilson, 95%.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import equiaudit
from equiaudit.metrics.intervals import proportion_interval
from equiaudit.repair.methods import METHODS, FixOptions, Subject, method
from equiaudit.sampling import roll_by

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SKIPPED = ("crop-select",)
BATCH = 100


def images(folder: Path, limit: int) -> tuple[Tensor, Tensor]:
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    files = [(f, k) for k, c in enumerate(classes) for f in sorted(c.iterdir())[: limit // 10]]
    x = np.stack([np.asarray(Image.open(f).convert("RGB")) for f, _ in files])
    scaled = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (scaled - mean) / std, torch.tensor([k for _, k in files])


@torch.inference_mode()
def row(name: str, net: nn.Module, x: Tensor, y: Tensor, base: float | None) -> tuple[str, float]:
    generator = torch.Generator().manual_seed(0)
    shifts = torch.randint(0, x.shape[-1], (len(x), 2, 2), generator=generator)
    shifts[:, 1] += (shifts[:, 0] == shifts[:, 1]).all(1, keepdim=True)
    start = time.process_time()
    clean = _run(net, x)
    taken = time.process_time() - start
    one, two = (_run(net, roll_by(x, shifts[:, k])) for k in (0, 1))
    counts = (
        clean.argmax(1) == y,
        one.argmax(1) == y,
        one.argmax(1) == two.argmax(1),
        (one == two).all(1),
    )
    shares = " | ".join(_share(hits) for hits in counts)
    return f"| {name} | {shares} | {taken / (base or taken):.2f} |", taken


def _run(net: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([net(part) for part in x.split(BATCH)])


def _share(hits: Tensor) -> str:
    found = proportion_interval(int(hits.sum()), len(hits))
    low, high = (100 * v for v in (found.low, found.high))
    return f"{100 * found.value:.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--methods", nargs="*", default=[m for m in METHODS if m not in SKIPPED])
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = equiaudit.load_model(args.weights, arch=args.arch, size=(32, 32), mean=MEAN, std=STD)
    subject = Subject(model)
    x, y = images(args.images, args.limit)
    print("| method | accuracy, % | shifted, % | consistency, % | bit-equal, % | time |")
    print("|---|---|---|---|---|---|", flush=True)
    line, base = row("unmodified", subject.graph, x, y, None)
    print(line, flush=True)
    for name in args.methods:
        torch.manual_seed(0)
        options = FixOptions(method=name)
        net = method(name).convert(subject, options).net.graph
        if net is None:
            sys.exit(f"{name} made no graph")
        print(row(name, net, x, y, base)[0], flush=True)


if __name__ == "__main__":
    main()
