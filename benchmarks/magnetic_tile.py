"""Train a small U-Net on magnetic-tile defects, the real case of the dense methods.

    python benchmarks/magnetic_tile.py ../shared/cases/magnetic_tile OUT

OUT receives `unet.pt` (TorchScript), `unet.safetensors` (for ``--arch tile_unet:unet``), their
preprocessing, and the photos, whole, with masks of 0 and 255: those that were trained on in
`train`, the others in `test`, each with `images` and `masks`. It takes about 4 minutes of one
core. `tile_audit.py` then compares the net before and after `fix`.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from tile_unet import unet

WINDOW = 128
MARGIN = 16
"""Real pixels that a crop shift of the default reach needs around the window."""
MEAN, STD = 0.4, 0.15
PEAK = 2e-3
"""Largest learning rate."""
TEST_SHARE = 0.3
BLACK_SHARE = 0.5
"""Of the training windows, those that are moved with black entering, as random crops with padding
are in common recipes. --black 0 leaves them out: such a net takes a black border for a defect."""
KINDS = ("MT_Blowhole", "MT_Crack", "MT_Free")
"""Not MT_Break, MT_Fray and MT_Uneven: they are of a tile's edge or of all of it, which a window
of this size does not show."""
PREPROCESS = f"""size = [{WINDOW}, {WINDOW}]
mean = [{MEAN}]
std = [{STD}]
channels = "gray"
"""


@dataclass(frozen=True)
class Tile:
    """One photo of a tile, (H, W) in 0..255, and its mask, (H, W) of 0 and 1."""

    name: str
    kind: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def tiles(folder: Path, window: int = WINDOW) -> list[Tile]:
    """The photos of `KINDS` that hold a window and its margin, in the order of their names."""
    with (folder / "classes.csv").open() as file:
        kinds = {row["file"]: row["class"] for row in csv.DictReader(file)}
    wanted = [(name, kind) for name, kind in sorted(kinds.items()) if kind in KINDS]
    found = (_tile(folder, name, kind) for name, kind in wanted)
    return [tile for tile in found if min(tile.mask.shape) >= window + 2 * MARGIN]


def _tile(folder: Path, name: str, kind: str) -> Tile:
    mask = np.array(Image.open((folder / "masks" / name).with_suffix(".png")))
    return Tile(name, kind, np.array(Image.open(folder / "images" / name)), mask)


def split(everything: Sequence[Tile], seed: int) -> tuple[list[Tile], list[Tile]]:
    """Training and test photos, the same share of every kind in both."""
    rng = np.random.default_rng(seed)
    train: list[Tile] = []
    test: list[Tile] = []
    for kind in sorted({tile.kind for tile in everything}):
        of_kind = [tile for tile in everything if tile.kind == kind]
        order = rng.permutation(len(of_kind))
        held_out = round(TEST_SHARE * len(of_kind))
        test += [of_kind[i] for i in order[:held_out]]
        train += [of_kind[i] for i in order[held_out:]]
    return train, sorted(test, key=lambda tile: tile.name)


def batch(
    train: Sequence[Tile],
    size: int,
    rng: np.random.Generator,
    window: int = WINDOW,
    black: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Windows (N, 1, H, W), normalised, and their masks (N, H, W); half of them on a defect.

    Black enters a share `black` of them.
    """
    drawn = [
        _window(train[rng.integers(len(train))], i % 2 == 0, rng, window, black)
        for i in range(size)
    ]
    pixels, masks = (np.stack(x) for x in zip(*drawn, strict=True))
    return normalised(pixels), torch.from_numpy(masks.astype(np.int64))


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W) grey values to the net's input (N, 1, H, W)."""
    return torch.from_numpy((pixels[:, None].astype(np.float32) / 255 - MEAN) / STD)


def _window(
    tile: Tile, on_defect: bool, rng: np.random.Generator, window: int, black: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    corner = rng.integers(np.array(tile.mask.shape) - window + 1)
    defect = np.argwhere(tile.mask)
    if on_defect and len(defect):
        centre = defect[rng.integers(len(defect))] + rng.integers(-window // 2, window // 2, 2)
        corner = np.clip(centre - window // 2, 0, np.array(tile.mask.shape) - window)
    at = tuple(slice(c, c + window) for c in corner)
    flips = tuple(slice(None, None, -1 if rng.random() < 0.5 else 1) for _ in range(2))
    pixels, mask = tile.pixels[at][flips], tile.mask[at][flips]
    if black and rng.random() < black:
        by = rng.integers(-MARGIN, MARGIN + 1, 2)
        pixels, mask = moved(pixels, by), moved(mask, by)
    return pixels, mask


def moved(values: NDArray[np.uint8], by: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(H, W) moved `by` (down, right); 0 enters: black, and no defect."""
    to = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, values.shape, strict=True))
    of = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, values.shape, strict=True))
    found = np.zeros_like(values)
    found[to] = values[of]
    return found


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy plus one less the Dice coefficient of the defect over the batch."""
    defect = logits.softmax(1)[:, 1]
    overlap = (defect * masks).sum()
    dice = (2 * overlap + 1) / (defect.sum() + masks.sum() + 1)
    return F.cross_entropy(logits, masks) + 1 - dice


def trained(
    train: Sequence[Tile], steps: int, size: int, seed: int, black: float = BLACK_SHARE
) -> nn.Module:
    """The net after `steps` batches of AdamW under a one-cycle schedule."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = unet().to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, total_steps=steps)
    started, seen = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        x, masks = batch(train, size, rng, black=black)
        error = loss(net(x.contiguous(memory_format=torch.channels_last)), masks)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule.step()
        seen += error.item()
        if step % 100 == 0:
            print(
                f"step {step}: {seen / 100:.3f}, {time.perf_counter() - started:.0f} s", flush=True
            )
            seen = 0.0
    return net.to(memory_format=torch.contiguous_format).eval()


@torch.inference_mode()
def iou(net: nn.Module, test: Sequence[Tile]) -> tuple[float, float]:
    """IoU of background and defect over all pixels of the windows in the middle."""
    counts = np.zeros((2, 2), np.int64)
    for tile in test:
        top, left = ((n - WINDOW) // 2 for n in tile.mask.shape)
        at = slice(top, top + WINDOW), slice(left, left + WINDOW)
        label = net(normalised(tile.pixels[at][None])).argmax(1)[0].numpy()
        np.add.at(counts, (tile.mask[at], label), 1)
    hits = np.diag(counts)
    background, defect = hits / (counts.sum(0) + counts.sum(1) - hits)
    return float(background), float(defect)


def save(net: nn.Module, out: Path) -> None:
    """The net in two formats."""
    save_file(net.state_dict(), out / "unet.safetensors")
    (out / "unet.toml").write_text(PREPROCESS)
    traced = torch.jit.trace(net, torch.randn(2, 1, WINDOW, WINDOW))
    torch.jit.save(traced, out / "unet.pt", _extra_files={"preprocess.toml": PREPROCESS})


def write_photos(photos: Sequence[Tile], folder: Path) -> None:
    """As the tool reads them."""
    for part in ("images", "masks"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    for tile in photos:
        name = Path(tile.name).with_suffix(".png").name
        Image.fromarray(tile.pixels).save(folder / "images" / name)
        Image.fromarray(tile.mask * np.uint8(255)).save(folder / "masks" / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="images/, masks/ and classes.csv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--black", type=float, default=BLACK_SHARE, help="share of windows")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, test = split(tiles(args.data), args.seed)
    print(f"{len(train)} photos to train on, {len(test)} to test", flush=True)
    net = trained(train, args.steps, args.batch, args.seed, args.black)
    args.out.mkdir(parents=True, exist_ok=True)
    save(net, args.out)
    write_photos(train, args.out / "train")
    write_photos(test, args.out / "test")
    background, defect = iou(net, test)
    mean = (background + defect) / 2
    print(f"test mIoU {mean:.4f} (background {background:.4f}, defect {defect:.4f})")


if __name__ == "__main__":
    main()
