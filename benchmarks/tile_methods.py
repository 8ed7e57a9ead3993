"""The U-Net of `magnetic_tile.py` trained from scratch with each method's sampling layers.

    python benchmarks/tile_methods.py ../shared/cases/magnetic_tile --out FILE.jsonl --seeds 3
    python benchmarks/tile_methods.py DATA --out FILE.jsonl --first-seed 2 --seeds 1
    python benchmarks/tile_methods.py --table FILE.jsonl

A seed is a split of the photos, a start of the weights and an order of the batches, the same for
all methods. A run is one line of FILE; runs that are there are kept. The middle and boundary
sequences are those of ``scan --protocol caps``. Intervals are 95%, Student's t over seeds; the
second table is of the differences to one method (`--less`) at the same seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from magnetic_tile import Tile, batch, loss, normalised, split, tiles
from methods import TAU, anneal
from tile_sampling import METHODS, SampledUNet

from equiaudit.metrics.sequences import SequenceScore, score, score_frames
from equiaudit.sampling import roll_by
from equiaudit.shifts.sliding import SETTINGS, place

PEAK = 4e-3
"""Largest learning rate."""
ROLLS = 4
"""Circular shifts per test window."""


@dataclass(frozen=True)
class Run:
    """One training, and its figures on the photos that were held out."""

    method: str
    seed: int
    steps: int
    window: int
    batch: int
    width: int
    miou: float
    """Of background and defect, over all pixels of the windows in the middle."""
    defect_iou: float
    mascc: float
    """Share of pixels that keep their label when a window is rolled."""
    kept_defect: float
    """IoU of the defects predicted before and after the roll, over all pixels."""
    equal: float
    """Share of rolled windows whose logits are the same bits."""
    middle: dict[str, float]
    boundary: dict[str, float]
    seconds: float
    """Of the processor, for the training."""
    parameters: int


def trained(method: str, train: Sequence[Tile], seed: int, args: argparse.Namespace) -> nn.Module:
    """The net after `args.steps` batches of AdamW under a one-cycle schedule."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = SampledUNet(method, args.width).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, total_steps=args.steps)
    for step in range(args.steps):
        anneal(net, TAU, step / args.steps)
        x, masks = batch(train, args.batch, rng, args.window)
        optimiser.zero_grad()
        loss(net(x), masks).backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def middles(test: Sequence[Tile], window: int) -> tuple[Tensor, Tensor]:
    """The windows in the middle of the photos, (N, 1, H, W), and their masks (N, H, W)."""
    pixels, masks = [], []
    for tile in test:
        top, left = ((n - window) // 2 for n in tile.mask.shape)
        at = slice(top, top + window), slice(left, left + window)
        pixels.append(tile.pixels[at])
        masks.append(tile.mask[at])
    return normalised(np.stack(pixels)), torch.from_numpy(np.stack(masks)).bool()


@torch.inference_mode()
def on_windows(net: nn.Module, x: Tensor, masks: Tensor, seed: int) -> dict[str, float]:
    """IoU, and what of the prediction a circular shift keeps."""
    y = net(x)
    found = y.argmax(1).bool()
    generator = torch.Generator().manual_seed(seed)
    same, kept, equal = [], [], []
    for _ in range(ROLLS):
        moves = torch.randint(1, x.shape[-1], (len(x), 2), generator=generator)
        expected, rolled = roll_by(y, moves), net(roll_by(x, moves))
        before, after = expected.argmax(1).bool(), rolled.argmax(1).bool()
        same.append((before == after).double().mean().item())
        kept.append(_iou(before, after))
        equal.append((expected == rolled).flatten(1).all(1).double().mean().item())
    defect = _iou(found, masks)
    return {
        "miou": (defect + _iou(~found, ~masks)) / 2,
        "defect_iou": defect,
        "mascc": float(np.mean(same)),
        "kept_defect": float(np.mean(kept)),
        "equal": float(np.mean(equal)),
    }


def _iou(a: Tensor, b: Tensor) -> float:
    union = (a | b).sum().item()
    return (a & b).sum().item() / union if union else 1.0


def sequences(
    test: Sequence[Tile], window: int, setting: str
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """The frames (N, H, W) of each photo that has room for a sequence, and their defects."""
    for tile in test:
        defects = tile.mask > 0
        corners = place(defects, (window, window), setting) if defects.any() else None
        if corners is not None:
            cuts = [(slice(r, r + window), slice(c, c + window)) for r, c in corners.tolist()]
            yield np.stack([tile.pixels[cut] for cut in cuts]), np.stack([defects[c] for c in cuts])


@torch.inference_mode()
def on_sequences(
    net: nn.Module, test: Sequence[Tile], window: int, setting: str
) -> dict[str, float]:
    """Means over sequences, and how many there are."""
    scores: list[SequenceScore] = [
        score(score_frames(net(normalised(pixels)).argmax(1).bool().numpy(), defects))
        for pixels, defects in sequences(test, window, setting)
    ]
    means = {
        field.name: float(np.mean([getattr(s, field.name) for s in scores]))
        for field in fields(SequenceScore)
    }
    return means | {"sequences": len(scores)}


def run(method: str, seed: int, photos: Sequence[Tile], args: argparse.Namespace) -> Run:
    train, test = split(photos, seed)
    start = time.process_time()
    net = trained(method, train, seed, args)
    taken = time.process_time() - start
    found = on_windows(net, *middles(test, args.window), seed)
    sliding = {setting: on_sequences(net, test, args.window, setting) for setting in SETTINGS}
    return Run(
        method=method,
        seed=seed,
        steps=args.steps,
        window=args.window,
        batch=args.batch,
        width=args.width,
        seconds=taken,
        parameters=sum(p.numel() for p in net.parameters()),
        **found,
        **sliding,
    )


def read(path: Path) -> list[Run]:
    """The runs of a file; none where there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Run(**json.loads(line)) for line in lines if line]


def _done(method: str, seed: int, args: argparse.Namespace) -> bool:
    wanted = (method, seed, args.steps, args.window, args.batch, args.width)
    known = ((r.method, r.seed, r.steps, r.window, r.batch, r.width) for r in read(args.out))
    return wanted in known


ROWS: dict[str, tuple[Callable[[Run], float], int]] = {
    "mIoU": (lambda r: r.miou, 3),
    "IoU of the defect": (lambda r: r.defect_iou, 3),
    "circular: pixels that keep their label, %": (lambda r: 100 * r.mascc, 2),
    "circular: IoU of defects before and after": (lambda r: r.kept_defect, 3),
    "circular: windows bit-equal, %": (lambda r: 100 * r.equal, 0),
} | {
    f"{setting}: {said}": (
        lambda r, setting=setting, name=name, scale=scale: scale * getattr(r, setting)[name],
        digits,
    )
    for setting in SETTINGS
    for name, said, scale, digits in (
        ("mean_iou", "IoU", 1, 3),
        ("iou_variance", "variance of IoU, 1e-4", 1e4, 1),
        ("area_variance", "variance of area, px²", 1, 0),
        ("lost_share", "frames lost, %", 100, 1),
    )
}
"""What a row of the table is, and its digits."""


def table(runs: Sequence[Run], base: str | None = None) -> Iterator[str]:
    """A column per method; with `base`, differences to that method at the same seed."""
    names = [m for m in METHODS if m != base and any(r.method == m for r in runs)]
    counts = [len({r.seed for r in runs if r.method == name}) for name in names]
    heads = (f"{name} ({count})" for name, count in zip(names, counts, strict=True))
    yield f"| {'' if base is None else f'less {base}'} | {' | '.join(heads)} |"
    yield "|---" * (len(names) + 1) + "|"
    reference = {r.seed: r for r in runs if r.method == base}
    for said, (value, digits) in ROWS.items():
        cells = []
        for name in names:
            mine = [r for r in runs if r.method == name and (base is None or r.seed in reference)]
            gaps = [value(r) - (value(reference[r.seed]) if base else 0.0) for r in mine]
            cells.append(interval(gaps, digits))
        yield f"| {said} | {' | '.join(cells)} |"


def interval(values: Sequence[float], digits: int) -> str:
    """Mean and half width of the 95% t interval; the mean alone of fewer than two values."""
    if not values:
        return "-"
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return f"{mean:.{digits}f}"
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="images/, masks/ and classes.csv")
    parser.add_argument("--out", type=Path, help="a line per run; runs that are there are kept")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--window", type=int, default=96, help="side in px, a multiple of 16")
    parser.add_argument("--width", type=int, default=8, help="channels of the first level")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, help="print the tables of such a file, and stop")
    parser.add_argument("--less", choices=METHODS, default="base", help="of the second table")
    args = parser.parse_args()
    if args.table is None and (args.data is None or args.out is None):
        parser.error("give DATA and --out FILE, or --table FILE")
    return args


def main() -> None:
    args = parsed()
    torch.set_num_threads(args.threads)
    if args.table is None:
        photos = tiles(args.data, args.window)
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            for method in args.methods:
                if not _done(method, seed, args):
                    line = json.dumps(asdict(run(method, seed, photos, args)))
                    print(line, flush=True)
                    with args.out.open("a") as file:
                        file.write(line + "\n")
    runs = read(args.table or args.out)
    print("\n".join(table(runs)))
    if {args.less} < {r.method for r in runs}:
        print("\n" + "\n".join(table(runs, args.less)))


if __name__ == "__main__":
    main()
