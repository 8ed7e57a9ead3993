"""Small nets, images and a loop over every pass, for tasks that decide by a threshold."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of

SIDE, ROOM = 16, 26
OF_MODEL = {"size": (SIDE, SIDE), "mean": (0.0,) * 3, "std": (1.0,) * 3, "stride": (2, 2)}
SHIFTING = {"max_shift": 4, "offsets": 5}
HOW = OF_MODEL | SHIFTING
KINDS = ("circular", "crop", "zero-pad")


class Steps(nn.Module):
    """Scores that answer to shifts: means over every other pixel, spread around 0."""

    def __init__(self, classes: int, *, sigmoid: bool = False, flat: bool = False) -> None:
        super().__init__()
        torch.manual_seed(classes)
        self.linear = nn.Linear(12, classes)
        self.sigmoid, self.flat = sigmoid, flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[:, :, i::4, j::4].mean((2, 3)) for i in (0, 1) for j in (0, 2)]
        scores = 40 * self.linear(torch.cat(parts, 1) - 0.5) - 30 * self.linear.bias
        scores = scores[:, 0] if self.flat else scores
        return scores.sigmoid() if self.sigmoid else scores


def images(folder, count=14, seed=0):
    """Noise, a little larger than the window."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = rng.integers(0, 256, (ROOM, ROOM, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


def shifted(pixels, kind, dy, dx):
    """(ROOM, ROOM, 3) -> the window at one shift."""
    at = (ROOM - SIDE) // 2
    window = pixels[at : at + SIDE, at : at + SIDE]
    if kind == "circular":
        return np.roll(window, (dy, dx), (0, 1))
    if kind == "crop":
        return pixels[at - dy : at - dy + SIDE, at - dx : at - dx + SIDE]
    moved = np.zeros_like(window)
    for y in range(SIDE):
        for x in range(SIDE):
            if 0 <= y - dy < SIDE and 0 <= x - dx < SIDE:
                moved[y, x] = window[y - dy, x - dx]
    return moved


@torch.inference_mode()
def every_output(net, folder, task, threshold=None):
    """Per kind, (clean, [of each shift]) of every image, from a pass each."""
    model = equiaudit.load_model(net, task=task, threshold=threshold, **OF_MODEL)
    plan = plan_of(model, ScanOptions(**SHIFTING))

    def output(window):
        x = torch.from_numpy(window.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255))
        return net(x)[0].double().numpy().reshape(-1)

    found = {}
    for series in plan.series:
        rows = []
        for i, file in enumerate(sorted(folder.glob("*.png"))):
            pixels = np.asarray(Image.open(file))
            offsets = plan.offsets(series, i).tolist()
            passes = [output(shifted(pixels, series.name, dy, dx)) for dy, dx in offsets]
            rows.append((output(shifted(pixels, "circular", 0, 0)), passes))
        found[series.name] = rows
    return found
