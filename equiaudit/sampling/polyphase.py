"""Polyphase sampling: one of the s*s components of a map, chosen per sample, or a mixture of all.

The components of x (B, C, H, W) at stride (sh, sw) are x[..., i::sh, j::sw], numbered row by row:
k = i * sw + j. If x' = roll(x, (a, b)), component (i, j) of x' is component (i - a, j - b) of x,
rolled by whole steps. A choice that moves likewise is exact: with o and o' the origins chosen for
x and x', y' == roll(y, (o + (a, b) - o') / stride), bit for bit.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from equiaudit.sampling.origin import pick_candidate, tie_break_table
from equiaudit.sampling.torus_hash import torus_hash
from equiaudit.sampling.wrapping import gather_window, is_nhwc, roll_by

Stride = int | tuple[int, int]
Ties = Literal["image", "first"]


class Choice(NamedTuple):
    """What was chosen at one level: share it between branches that meet, and with the way up."""

    origin: Tensor
    """(B, 2) int64, rows and columns, 0..stride-1."""
    weights: Tensor | None
    """(B, sh*sw), sum 1, where the components are mixed; None where one is taken."""


def pair(stride: Stride) -> tuple[int, int]:
    """A stride that may be given once for both axes."""
    return (stride, stride) if isinstance(stride, int) else stride


def components(x: Tensor, stride: Stride) -> Tensor:
    """(B, C, H, W) to (B, sh*sw, C, H/sh, W/sw); ValueError where the size does not divide."""
    sh, sw = pair(stride)
    channels, height, width = _sizes(x, stride)
    split = x.reshape(-1, channels, height // sh, sh, width // sw, sw).permute(0, 3, 5, 1, 2, 4)
    return split.reshape(-1, sh * sw, channels, height // sh, width // sw)


def _sizes(x: Tensor, stride: Stride) -> tuple[int, int, int]:
    (sh, sw), (channels, height, width) = pair(stride), x.shape[1:]
    if height % sh or width % sw:
        raise ValueError(f"a {height}x{width} map has no whole grids of stride {sh}x{sw}")
    return channels, height, width


def take(x: Tensor, origin: Tensor, stride: Stride) -> Tensor:
    """Each sample's own component: (B, C, H, W) and (B, 2) to (B, C, H/sh, W/sw), in one gather."""
    sh, sw = pair(stride)
    shape = _sizes(x, stride)
    out = (shape[1] // sh, shape[2] // sw)
    rows = torch.arange(out[0], device=x.device) * sh + origin[:, :1]
    columns = torch.arange(out[1], device=x.device) * sw + origin[:, 1:]
    return gather_window(x, rows, columns, shape, out, channels_last=is_nhwc(x))


def blend(x: Tensor, weights: Tensor, stride: Stride) -> Tensor:
    """The components of x (B, C, H, W) mixed by `weights` (B, sh*sw): (B, C, H/sh, W/sw)."""
    parts = components(x, stride)
    mixed = torch.sum(parts * weights.reshape(-1, parts.shape[1], 1, 1, 1), 1)
    return mixed.type_as(x)


def sample(x: Tensor, choice: Choice, stride: Stride) -> Tensor:
    """`blend` where the choice has weights, else `take`."""
    if choice.weights is not None:
        return blend(x, choice.weights, stride)
    return take(x, choice.origin, stride)


def place(z: Tensor, choice: Choice, stride: Stride) -> Tensor:
    """The way back: z (B, C, h, w) on its component of a map of zeros (B, C, sh*h, sw*w).

    With weights, z times the weight of each component lies on that component.
    """
    sh, sw = pair(stride)
    channels, height, width = z.shape[1:]
    out = (-1, channels, height * sh, width * sw)
    if choice.weights is not None:
        weights = choice.weights.reshape(-1, 1, 1, sh, 1, sw)
        return (z[:, :, :, None, :, None] * weights).type_as(z).reshape(out)
    spread = nn.functional.pad(z[:, :, :, None, :, None], [0, sw - 1, 0, 0, 0, sh - 1])
    return roll_by(spread.reshape(out), choice.origin)


class Selector(nn.Module, ABC):
    """How to choose: a score per component, the best one taken, or all mixed by weights.

    Subclasses give `scores`, which must move with the components (a shift by (a, b) rolls the
    sh x sw grid of scores by (a, b)) and, in eval mode, do so to the last bit. `ties` says who
    decides between equal scores: the whole image ("image", see `torus_hash`, exact) or the order
    of the components ("first", as published, which is not equivariant). `window` px of each
    component are left out of the score on every side, which makes it inexact, see `windowing`.
    """

    def __init__(self, stride: Stride, *, ties: Ties = "image", window: int = 0) -> None:
        super().__init__()
        self.stride = pair(stride)
        self.ties = ties
        self.window = window

    @abstractmethod
    def scores(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, sh*sw); float64 in eval mode."""

    def weights(self, scores: Tensor) -> Tensor | None:
        """What to mix the components by, (B, sh*sw); None where the best one is taken."""
        return None

    def forward(self, x: Tensor, image: Tensor | None = None) -> Choice:
        """Choose for x (B, C, H, W); ties are decided by `image` (B, C', H, W), by default x."""
        _sizes(x, self.stride)
        scores = self.scores(x)
        weights = self.weights(scores)
        best = scores if weights is None else weights
        origin = self._origin(best.detach(), x if image is None else image)
        return Choice(origin, weights)

    @torch.no_grad()
    def _origin(self, scores: Tensor, image: Tensor) -> Tensor:
        sh, sw = self.stride
        if self.ties == "first":
            flat = torch.argmax(scores, 1)
        else:
            size = (image.shape[2], image.shape[3])
            table = tie_break_table(torus_hash(image, image.shape[1], size), size, self.stride)
            flat = pick_candidate(scores, table, sh * sw)
        return torch.stack([flat // sw, flat % sw], 1)


def _check_filter(filter: nn.Module | None, layer: str) -> None:
    """ValueError for a filter that samples, a UserWarning for one that knows the border."""
    stride, padding = getattr(filter, "stride", 1), getattr(filter, "padding", "circular")
    if stride not in (1, (1, 1)):
        raise ValueError(
            f"the filter of {layer} has a stride of {stride}, and {layer} samples already:"
            " give it stride=1"
        )
    if isinstance(padding, str) and padding != "circular":
        said = f'{layer} is not exact behind a filter with padding="{padding}"; "circular" is'
        warnings.warn(said, UserWarning, stacklevel=4)


class PolyphaseDown(nn.Module):
    """Downsampling by choice: (filter,) score the components, take one or mix them.

    Put it behind an operation run at stride 1, which costs sh*sw times its work: a strided
    convolution or max pool becomes the same one with stride 1, then this. `filter` is a
    low-pass with stride 1 and circular padding (`BlurPool`, `DDAC`); the choice is made on its
    output, or before it with `select_before_filter`.

    y = down(x). Branches that meet again share one choice, and the way up needs it too:
    y, choice = down.sample(x); z = shortcut(x, choice).
    """

    def __init__(
        self,
        select: Selector,
        filter: nn.Module | None = None,
        *,
        select_before_filter: bool = False,
    ) -> None:
        super().__init__()
        _check_filter(filter, "PolyphaseDown")
        self.select = select
        self.filter = filter
        self.select_before_filter = select_before_filter

    def sample(
        self, x: Tensor, choice: Choice | None = None, image: Tensor | None = None
    ) -> tuple[Tensor, Choice]:
        """(B, C, H, W) to (B, C, H/sh, W/sw), and the choice; H and W must divide."""
        smooth = x if self.filter is None else self.filter(x)
        if choice is None:
            choice = self.select(x if self.select_before_filter else smooth, image)
        return sample(smooth, choice, self.select.stride), choice

    def forward(self, x: Tensor, choice: Choice | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, H/sh, W/sw); gradients flow to x, and to a learned selector."""
        return self.sample(x, choice)[0]


class PolyphaseUp(nn.Module):
    """The way back of the `PolyphaseDown` that made the choice: zeros, then a filter if any.

    With `soft` the weights of a mixture are used on the way back too, else the origin alone.
    `gain` multiplies the result; sh*sw makes up for the zeros where there is a filter.
    Replaces a transposed convolution together with the convolution behind it.
    """

    def __init__(
        self,
        stride: Stride,
        filter: nn.Module | None = None,
        *,
        gain: float = 1.0,
        soft: bool = False,
    ) -> None:
        super().__init__()
        _check_filter(filter, "PolyphaseUp")
        self.stride = pair(stride)
        self.filter = filter
        self.gain = gain
        self.soft = soft

    def forward(self, z: Tensor, choice: Choice) -> Tensor:
        """(B, C, h, w) to (B, C, sh*h, sw*w)."""
        y = place(z, choice if self.soft else Choice(choice.origin, None), self.stride)
        y = y if self.filter is None else self.filter(y)
        return y if self.gain == 1.0 else y * self.gain
