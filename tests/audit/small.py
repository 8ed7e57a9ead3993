"""A small shift-fragile classifier, images for it, and a brute-force audit of both."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from PIL import Image
from torch import nn

from equiaudit.data import open_dataset
from equiaudit.models.types import Model, Preprocess

SIZE = (16, 16)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.5)


def small_net(classes=4):
    """Two strided convolutions; its logits are centred, so that small changes flip labels."""
    torch.manual_seed(3)
    head = nn.Linear(8, classes)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        head,
    )
    mean, std = np.float32(MEAN), np.float32(STD)
    with torch.no_grad():
        pixels = np.stack([_pixels(i, SIZE, 1) for i in range(64)]).astype(np.float32)
        x = torch.from_numpy((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
        logits = net(x)
        head.weight.div_(logits.std(0)[:, None])
        head.bias.sub_(logits.mean(0)).div_(logits.std(0))
    return net.eval()


def small_model(run=None, **changes):
    net = small_net()
    settings = {
        "name": "small",
        "kind": "module",
        "run": run or (lambda x: net(x).float()),
        "preprocess": Preprocess(size=SIZE, mean=MEAN, std=STD),
        "task": "classification",
        "device": torch.device("cpu"),
        "sha256": "0" * 64,
        "backend": "torch",
        "module": net,
        "num_classes": 4,
        "total_stride": (4, 4),
    }
    return Model(**(settings | changes))


def write_images(folder, count=10, size=(24, 24), seed=0, classes=()):
    """Noise with a bright block; with `classes`, sub-folders of that name in turn."""
    for i in range(count):
        home = folder / classes[i % len(classes)] if classes else folder
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(i, size, seed)).save(home / f"{i:03}.png")
    return folder


def _pixels(i, size, seed):
    rng = np.random.default_rng([seed, i])
    pixels = rng.integers(0, 120, (*size, 3))
    y, x = rng.integers(2, size[0] - 8, 2)
    pixels[y : y + 6, x : x + 6, i % 3] += 130
    return pixels.astype(np.uint8)


def dataset(folder, **settings):
    return open_dataset(folder, **settings)


def brute_force(net, folder, kind, reach, labels=None, size=SIZE, mean=MEAN, std=STD):
    """consistency, agreement, worst accuracy and both maps (stride 4), one pass per shift.

    Nothing is shared with the package: pixels by Pillow, shifts by index arithmetic.
    """
    rows = []
    where = np.zeros((2 * reach + 1, 2 * reach + 1), int)
    phase, phase_total = np.zeros((4, 4), int), np.zeros((4, 4), int)
    for i, path in enumerate(sorted(folder.rglob("*.png"), key=lambda p: str(p).encode())):
        image = np.asarray(Image.open(path).convert("RGB"))
        clean = _label(net, _window(image, kind, 0, 0, size), mean, std)
        found = []
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if dy == 0 and dx == 0:
                    continue
                label = _label(net, _window(image, kind, dy, dx, size), mean, std)
                found.append(label)
                where[dy + reach, dx + reach] += label == clean
                phase[dy % 4, dx % 4] += label == clean
                phase_total[dy % 4, dx % 4] += 1
        rows.append((clean, found, None if labels is None else labels[i]))
    return {
        "consistency": np.mean([_pairs(found) for _, found, _ in rows]),
        "agreement": np.mean([np.mean(np.array(found) == clean) for clean, found, _ in rows]),
        "accuracy_worst": None
        if labels is None
        else np.mean([all(label == true for label in found) for _, found, true in rows]),
        "map": where,
        "phase": phase,
        "phase_total": phase_total,
    }


def _pairs(found):
    if len(found) < 100:
        return np.mean([a == b for a, b in combinations(found, 2)])
    counts = np.bincount(found)
    return (counts * (counts - 1)).sum() / (len(found) * (len(found) - 1))


def _window(image, kind, dy, dx, size):
    height, width = size
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    out = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            a, b = y - dy, x - dx
            if kind == "circular":
                a, b = a % height, b % width
            elif kind == "zero-pad" and not (0 <= a < height and 0 <= b < width):
                continue
            out[y, x] = image[top + a, left + b]
    return out


def _label(net, window, mean, std):
    x = (window.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    with torch.inference_mode():
        return int(net(torch.from_numpy(x).permute(2, 0, 1)[None]).argmax())
