"""Generated parts, and a small U-Net that finds them and the rim: trained in seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SIDE = 48


class UNet(nn.Module):
    """Two levels, zero padding, as segmenters are usually built."""

    def __init__(self, width: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.first = _block(3, width)
        self.down = _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.up = _block(6 * width, 2 * width)
        self.last = _block(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        down = self.down(self.pool(first))
        bottom = self.bottom(self.pool(down))
        up = self.up(torch.cat([self.grow(bottom), down], 1))
        out: Tensor = self.head(self.last(torch.cat([self.grow(up), first], 1)))
        return out


def _block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
        nn.Conv2d(outside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


def draw(seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) and its mask (H, W).

    Class 1 is bright rings. Class 2 is the outermost 5 px, which look like the rest: a net knows
    them by the zeros that it pads with.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    image = 20 + 90 * x / side + 90 * y / side + rng.normal(0, 3, (side, side))
    mask = np.full((side, side), 2, np.uint8)
    mask[5:-5, 5:-5] = 0
    for _ in range(3):
        cy, cx = rng.uniform(4, side - 4, 2)
        radius = rng.uniform(5, 8)
        distance = np.hypot(y - cy, x - cx)
        ring = (distance < radius) & (distance > radius / 2)
        image[ring], mask[ring] = 235, 1
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, 2), mask


def write_parts(folder: Path, count: int, side: int = SIDE) -> Path:
    """images/ and masks/ of parts that the net has not seen."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image, mask = draw(10_000 + i, side)
        Image.fromarray(image).save(folder / "images" / f"{i:03}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i:03}.png")
    return folder


@cache
def trained(steps: int = 120) -> UNet:
    """In eval mode; takes pixels in [0, 1]."""
    torch.manual_seed(0)
    drawn = [draw(seed) for seed in range(64)]
    images = torch.from_numpy(np.stack([i for i, _ in drawn])).permute(0, 3, 1, 2) / 255
    masks = torch.from_numpy(np.stack([m for _, m in drawn])).long()
    net = UNet()
    optimiser = torch.optim.Adam(net.parameters(), 6e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    for _ in range(steps):
        chosen = torch.randint(len(images), (8,))
        loss = cross_entropy(net(images[chosen]), masks[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()
