"""The two real cases, read once into memory: what the benchmarks of the input methods share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import equiaudit
from equiaudit.data import Dataset, open_dataset
from equiaudit.metrics.intervals import proportion_interval
from equiaudit.models import Model

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


@dataclass(frozen=True)
class Case:
    """A model, its images (N, 3, H, W) uint8 at their own size, and labels (N,)."""

    name: str
    model: Model
    images: Tensor
    labels: Tensor

    def prepared(self, pixels: Tensor) -> Tensor:
        """Pixels as the model receives them."""
        how = self.model.preprocess
        mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (how.mean, how.std))
        return (pixels.float() / 255 - mean) / std


def cifar10(cases: Path, limit: int | None) -> Case:
    model = equiaudit.load_model(
        cases / "cifar10/weights/resnet20-12fca82f.th",
        arch="nets:resnet20",
        size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    data = open_dataset(cases / "cifar10/images", num_classes=10, limit=limit)
    return _case("ResNet-20, CIFAR-10", model, data)


def photos(cases: Path, limit: int | None) -> Case:
    model = equiaudit.load_model(
        cases / "imagenet/weights/squeezenet1_1_torchvision.pt",
        arch="torchvision:squeezenet1_1",
        size=(224, 224),
        mean=(123 / 255, 117 / 255, 104 / 255),
        std=(1 / 255,) * 3,
    )
    folder = cases / "imagenet"
    data = open_dataset(
        folder / "images", labels=folder / "labels.csv", num_classes=1000, limit=limit
    )
    return _case("SqueezeNet 1.1, photos", model, data)


def centre(pixels: Tensor, size: int) -> Tensor:
    """The middle `size` x `size` of (N, C, H, W)."""
    top, left = ((n - size) // 2 for n in pixels.shape[2:])
    return pixels[:, :, top : top + size, left : left + size]


def share(hits: Tensor) -> str:
    """A share of images, in percent, with its 95% interval."""
    found = proportion_interval(int(hits.sum()), len(hits))
    return f"{100 * found.value:5.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _case(name: str, model: Model, data: Dataset) -> Case:
    pixels = np.stack([np.asarray(Image.open(item.path).convert("RGB")) for item in data.items])
    labels = torch.tensor([item.label for item in data.items])
    return Case(name, model, torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels)
