"""Small detectors with random weights, in the formats that a declaration knows."""

from __future__ import annotations

import torch
from repair.repair_nets import randomise
from torch import nn

SIZE = (32, 32)
STRIDES = (4, 8)
CLASSES = 3


class OneStage(nn.Module):
    """Rows of two grids: x, y in cells, log sizes, objectness and scores, as YOLOX has them.

    With `decoded`, centres and sizes in px, as YOLOv5 writes them; with `columns` (N, 4 + C, A).
    """

    def __init__(self, *, decoded: bool = False, columns: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.first = nn.Conv2d(8, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2)
        self.heads = nn.ModuleList(nn.Conv2d(8, 5 + CLASSES, 3, 1, 1) for _ in STRIDES)
        self.decoded, self.columns = decoded, columns
        cells = [[c, r, s] for s in STRIDES for r in range(32 // s) for c in range(32 // s)]
        self.register_buffer("cells", torch.tensor(cells))
        randomise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = torch.relu(self.first(torch.relu(self.stem(x))))
        coarse = torch.relu(self.second(fine))
        maps = [self.heads[0](fine + self.up(coarse)), self.heads[1](coarse)]
        rows = torch.cat([y.flatten(2) for y in maps], 2).transpose(1, 2)
        rows = torch.cat([rows[..., :4] / 4, rows[..., 4:].sigmoid()], 2)
        if not self.decoded:
            return rows
        cells = self.cells
        centre = (rows[..., :2] + cells[:, :2]) * cells[:, 2:]
        done = torch.cat([centre, rows[..., 2:4].exp() * cells[:, 2:], rows[..., 4:]], 2)
        if self.columns:
            return torch.cat([done[..., :4], done[..., 5:]], 2).transpose(1, 2)
        return done


class Finished(nn.Module):
    """The likeliest boxes of `OneStage`, chosen inside: boxes, scores and labels apart."""

    def __init__(self, box: str = "xyxy", unit: str = "px") -> None:
        super().__init__()
        self.inner = OneStage(decoded=True)
        self.box, self.unit = box, unit

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = self.inner(x)
        best, labels = rows[..., 5:].max(-1)
        scores, places = torch.topk(best * rows[..., 4], 6)
        boxes = torch.gather(rows[..., :4], 1, places.unsqueeze(-1).expand(-1, -1, 4))
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        if self.box == "xyxy":
            boxes = torch.cat([centre - half, centre + half], -1)
        elif self.box == "xywh":
            boxes = torch.cat([centre - half, 2 * half], -1)
        if self.unit == "share":
            boxes = boxes / 32
        return {"boxes": boxes, "scores": scores, "labels": torch.gather(labels, 1, places)}


ANCHORS = (((6.0, 6.0), (9.0, 7.0)), ((14.0, 10.0), (16.0, 16.0)))


class Anchored(nn.Module):
    """Boxes relative to the two anchors of each cell, logits with a background, and `further`
    rows beside them, as SSD and RetinaFace have them."""

    def __init__(self, *, further: bool = False) -> None:
        super().__init__()
        self.inner = OneStage()
        self.heads = nn.ModuleList(nn.Conv2d(8, 2 * (4 + CLASSES + 1), 3, 1, 1) for _ in STRIDES)
        self.further = further
        randomise(self)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        net = self.inner
        fine = torch.relu(net.first(torch.relu(net.stem(x))))
        maps = [self.heads[0](fine), self.heads[1](torch.relu(net.second(fine)))]
        each = [y.permute(0, 2, 3, 1).unflatten(3, (2, -1)).flatten(1, 3) for y in maps]
        rows = torch.cat(each, 1)
        found = (rows[..., :4] / 2, rows[..., 4:])
        return (*found, rows[..., :6] / 3) if self.further else found
