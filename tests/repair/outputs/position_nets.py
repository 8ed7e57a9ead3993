"""Nets whose outputs are positions, told from scores by what they do."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Form = Literal["pairs", "rows"]


class Landmarks(nn.Module):
    """The middle of what is bright, and points beside it: (N, 2 K), or (N, K, 2)."""

    def __init__(self, unit: str = "px", form: Form = "pairs", *, planar: bool = False) -> None:
        super().__init__()
        self.unit, self.form, self.planar = unit, form, planar
        self.register_buffer("beside", torch.tensor([0.0, 2.0, -1.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        share = torch.softmax(20 * x[:, 0].flatten(1), 1).reshape(-1, height, width)
        column = torch.sum(share.sum(1) * torch.arange(width), 1, keepdim=True) + self.beside
        row = torch.sum(share.sum(2) * torch.arange(height), 1, keepdim=True) - self.beside
        if self.unit == "share":
            column, row = column / width, row / height
        if self.planar:
            return torch.cat([column, row], 1)
        points = torch.stack([column, row], -1)
        return points.flatten(1) if self.form == "pairs" else points


class LinearLandmarks(nn.Module):
    """The middle of what is bright by a layer with a weight per position, (N, 6): x, y, ..."""

    def __init__(self, side: int = 32) -> None:
        super().__init__()
        steps = side // 2
        self.conv = nn.Conv2d(3, 2, 2, 2)
        self.head = nn.Linear(2 * steps**2, 6, bias=False)
        y, x = torch.meshgrid(*[torch.arange(steps) * 2.0 + 0.5] * 2, indexing="ij")
        with torch.no_grad():
            self.conv.weight.fill_(1 / 48)
            self.conv.bias.fill_(-0.05)
            self.head.weight.copy_(torch.stack([x, y] * 3).flatten(1).repeat(1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.conv(x).relu()
        share = bright / bright.sum((1, 2, 3), keepdim=True).clamp(min=1e-3)
        return self.head(share.flatten(1))


class Boxes(nn.Module):
    """Boxes around the landmarks (N, 3, 4) and their scores (N, 3)."""

    def __init__(self, unit: str = "px", *, centres: bool = False) -> None:
        super().__init__()
        self.points = Landmarks(unit, "rows")
        self.centres, self.half = centres, 3.0 if unit == "px" else 0.05
        self.conv = nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points = self.points(x)
        around = torch.full_like(points, self.half)
        scores = torch.sigmoid(self.conv(x)[:, :, 1, 1])
        first, second = (points, 2 * around) if self.centres else (points - around, points + around)
        return torch.cat([first, second], -1), scores


class MapAndScore(nn.Module):
    """What anomaly models return: a map (N, 1, H, W), coarse features, a score and a label."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 1, 2, 2)
        self.last = nn.Conv2d(1, 1, 5, padding=2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = torch.relu(self.conv(x))
        found = self.last(self.up(features))
        score = found.flatten(1).amax(1, keepdim=True)
        return found, features, score, (score > 0).to(torch.int64)


class Classifier(nn.Module):
    """Scores (N, 4) from a flattened map, which knows every place, and the map itself."""

    def __init__(self, *, also_map: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4 * 16 * 16, 4)
        self.also_map = also_map

    def forward(self, x: torch.Tensor) -> object:
        found = torch.relu(self.conv(x))
        scores = self.head(found.flatten(1))
        return (scores, found) if self.also_map else scores
