"""Make the demo again: draw the pictures, train the network, write what the package holds.

    python benchmarks/demo_train.py --out DIR

No picture is moved in training, as in much of practice: that is what the demo shows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from demo_surfaces import CLASSES, SIDE, surface
from PIL import Image
from safetensors.torch import save
from torch import nn

from equiaudit.demo.net import demo_net

WINDOW = 32
MEAN = (0.53, 0.53, 0.53)
STD = (0.13, 0.13, 0.13)
HELD_OUT = range(1_000_000, 1_000_008)
"""Seeds of the packaged pictures, per class."""
_FRESH = range(2_000_000, 2_000_125)


@dataclass(frozen=True)
class Recipe:
    """How the network is trained."""

    per_class: int = 400
    epochs: int = 16
    batch: int = 64
    learning_rate: float = 1e-2
    seed: int = 1


def pictures(seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """One picture per class and seed: (N, 64, 64, 3) uint8, and labels (N,) int64."""
    drawn = [(surface(name, seed), label) for label, name in enumerate(CLASSES) for seed in seeds]
    return np.stack([image for image, _ in drawn]), np.array([label for _, label in drawn])


def window(images: np.ndarray, dy: int = 0, dx: int = 0) -> torch.Tensor:
    """The 32x32 window moved by (dy, dx) px from the centre, normalised: (N, 3, 32, 32)."""
    top, left = (SIDE - WINDOW) // 2 + dy, (SIDE - WINDOW) // 2 + dx
    cut = images[:, top : top + WINDOW, left : left + WINDOW]
    x = torch.from_numpy(cut.astype(np.float32) / 255).permute(0, 3, 1, 2)
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def train(recipe: Recipe) -> nn.Module:
    """A trained network in eval mode; the same one for the same recipe, machine and torch."""
    images, labels = pictures(range(recipe.per_class))
    x, y = window(images).contiguous(), torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _fit(demo_net(len(CLASSES)), x, y, recipe).eval()


def _fit(net: nn.Module, x: torch.Tensor, y: torch.Tensor, recipe: Recipe) -> nn.Module:
    steps = recipe.epochs * -(-len(x) // recipe.batch)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps)
    for _ in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(x)), recipe.batch):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return net


@torch.no_grad()
def accuracy(net: nn.Module, seeds: Sequence[int]) -> tuple[int, int]:
    """(right, total) on the unmoved windows of the pictures of `seeds`."""
    images, labels = pictures(seeds)
    predicted = net(window(images)).argmax(1).numpy()
    return int((predicted == labels).sum()), len(labels)


def _write_images(folder: Path) -> None:
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place, seed in enumerate(HELD_OUT):
            path = folder / name / f"{name}-{place}.png"
            Image.fromarray(surface(name, seed)).save(path, optimize=True)


def _sidecar() -> str:
    return (
        f'size = [{WINDOW}, {WINDOW}]\nmean = {list(MEAN)}\nstd = {list(STD)}\nchannels = "rgb"\n'
    )


def _record(net: nn.Module, recipe: Recipe) -> str:
    right, total = accuracy(net, HELD_OUT)
    fresh_right, fresh_total = accuracy(net, _FRESH)
    return (
        "# Written by benchmarks/demo_train.py.\n"
        f"classes = {json.dumps(list(CLASSES))}\n"
        f"trained_on = {recipe.per_class * len(CLASSES)}\n"
        f"epochs = {recipe.epochs}\n"
        f"seed = {recipe.seed}\n"
        f'torch = "{torch.__version__}"\n'
        f"right = {right}  # of the {total} packaged images\n"
        f"images = {total}\n"
        f"accuracy_fresh = {fresh_right / fresh_total}  # on {fresh_total} more\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write weights, their preprocessing file, a record, and the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    out: Path = parser.parse_args(arguments).out
    recipe = Recipe()
    net = train(recipe)
    out.mkdir(parents=True, exist_ok=True)
    (out / "demo.safetensors").write_bytes(save(net.state_dict()))
    (out / "demo.safetensors.toml").write_text(_sidecar(), encoding="utf-8")
    (out / "demo.toml").write_text(_record(net, recipe), encoding="utf-8")
    _write_images(out / "images")


if __name__ == "__main__":
    main()
