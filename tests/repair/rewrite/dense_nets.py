"""Nets that return maps: U-Nets, SegNet, a feature pyramid, pixel shuffle and unshuffle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
import torchvision
from exact_nets import Size, calibrated
from torch import Tensor, nn

Up = Literal["transposed", "bilinear", "unpool"]


def block(inward: int, outward: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Three max pools; up again by transposed convolution, bilinearly or by unpooling."""

    def __init__(self, up: Up, classes: int = 5) -> None:
        super().__init__()
        self.up = up
        widths = (8, 16, 32, 32)
        self.down = nn.ModuleList(block(a, b) for a, b in zip((3, *widths), widths, strict=False))
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.raise_ = nn.ModuleList(self._upsampler(a, b) for a, b in steps)
        self.decoder = nn.ModuleList(block(2 * b, b) for _, b in steps)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def _upsampler(self, inward: int, outward: int) -> nn.Module:
        if self.up == "transposed":
            return nn.ConvTranspose2d(inward, outward, 2, 2)
        return nn.Conv2d(inward, outward, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips, indices = [self.down[0](x)], []
        for stage in self.down[1:]:
            pooled, index = F.max_pool2d(skips[-1], 2, return_indices=True)
            indices.append(index)
            skips.append(stage(pooled))
        y = skips.pop()
        for up, stage in zip(self.raise_, self.decoder, strict=True):
            skip = skips.pop()
            y = self._raised(up, y, indices.pop(), skip)
            y = stage(torch.cat([skip, y], 1))
        return self.head(y)

    def _raised(self, up: nn.Module, y: Tensor, index: Tensor, skip: Tensor) -> Tensor:
        if self.up == "transposed":
            return up(y)
        if self.up == "bilinear":
            size = skip.shape[2:]
            return up(F.interpolate(y, size=size, mode="bilinear", align_corners=False))
        return F.max_unpool2d(up(y), index, 2)


class SegNet(nn.Module):
    """No skips: the decoder knows the encoder by the indices of its pools alone."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        widths = (8, 16, 32)
        self.down = nn.ModuleList(block(a, b) for a, b in zip((3, *widths), widths, strict=False))
        back = (*widths[::-1], widths[0])
        self.rise = nn.ModuleList(block(a, b) for a, b in pairwise(back))
        self.head = nn.Conv2d(widths[0], classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        indices = []
        for stage in self.down:
            x, index = F.max_pool2d(stage(x), 2, return_indices=True)
            indices.append(index)
        for stage in self.rise:
            x = stage(F.max_unpool2d(x, indices.pop(), 2))
        return self.head(x)


class Pyramid(nn.Module):
    """Strided convolutions down, laterals and nearest upsampling back to stride 2, x2 out."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = block(3, 8, 2)
        self.stages = nn.ModuleList([block(8, 16, 2), block(16, 32, 2)])
        self.lateral = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in (8, 16, 32))
        self.smooth = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.head = nn.Conv2d(48, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        laterals = [conv(y) for conv, y in zip(self.lateral, maps, strict=True)]
        merged = [laterals[-1]]
        for lateral in laterals[-2::-1]:
            merged.append(lateral + F.interpolate(merged[-1], scale_factor=2, mode="nearest"))
        levels = [conv(y) for conv, y in zip(self.smooth, merged[::-1], strict=True)]
        size = levels[0].shape[2:]
        wide = [F.interpolate(y, size=size, mode="bilinear") for y in levels]
        return F.interpolate(self.head(torch.cat(wide, 1)), size=x.shape[2:], mode="bilinear")


class ShuffleDecoder(nn.Module):
    """Image to image: strided convolutions down, pixel shuffle up, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 32))
        self.up = nn.Sequential(
            nn.Conv2d(32, 64, 3, padding=1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.down(x))


class Denoiser(nn.Module):
    """Image to image on the four half-size components of the image, as FFDNet."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(block(12, 24), block(24, 24), nn.Conv2d(24, 12, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x - F.pixel_shuffle(self.body(F.pixel_unshuffle(x, 2)), 2)


SMALL: dict[str, Callable[[], nn.Module]] = {
    "unet_transposed": partial(UNet, "transposed"),
    "unet_bilinear": partial(UNet, "bilinear"),
    "unet_unpool": partial(UNet, "unpool"),
    "segnet_unpool": SegNet,
    "feature_pyramid": Pyramid,
    "pixel_shuffle_decoder": ShuffleDecoder,
    "pixel_unshuffle_denoiser": Denoiser,
}
SEGMENTERS = ("deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large")


class Out(nn.Module):
    """Entry "out" of a segmenter's mapping."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)["out"]


def dense_net(name: str, size: Size) -> nn.Module:
    """A small net or a torchvision segmenter, random weights that react to the input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return calibrated(SMALL[name]() if name in SMALL else _segmenter(name), size)


def _segmenter(name: str) -> nn.Module:
    options: dict[str, Any] = {"num_classes": 21, "weights": None, "weights_backbone": None}
    return Out(torchvision.models.get_model(name, **options))
