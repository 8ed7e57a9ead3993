"""The U-Net of `magnetic_tile.py`: max pooling, transposed convolutions, zero padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["UNet", "unet"]


class UNet(nn.Module):
    """(N, channels, H, W) -> (N, classes, H, W) logits; H and W are multiples of 16."""

    def __init__(
        self, channels: int = 1, classes: int = 2, width: int = 8, padding: str = "zeros"
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.encoder = nn.ModuleList(
            _double(a, b, padding) for a, b in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        levels = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, wide, 2, 2) for deep, wide in levels)
        self.decoder = nn.ModuleList(_double(2 * wide, wide, padding) for _, wide in levels)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.encoder[0](x)]
        for stage in self.encoder[1:]:
            skips.append(stage(self.pool(skips[-1])))
        y = skips.pop()
        for up, stage in zip(self.up, self.decoder, strict=True):
            y = stage(torch.cat([skips.pop(), up(y)], 1))
        return self.head(y)


def _double(inward: int, outward: int, padding: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inward, outward):
        layers += [
            nn.Conv2d(channels, outward, 3, padding=1, bias=False, padding_mode=padding),
            nn.BatchNorm2d(outward),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def unet() -> UNet:
    """The net as trained, for ``--arch tile_unet:unet``."""
    return UNet()
