"""Every rewritten operation obeys the closed form y' == roll(y, (o + D - o') / s), to the bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from exact_nets import captured, output_and_offsets, photos, shifted, with_levels, worst_change
from torch import Tensor, nn

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.levels import FeatureLevels
from equiaudit.repair.rewrite.rewrite import rewrite

SIZE = (16, 24)


class Slice(nn.Module):
    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.start :: 2, self.start :: 2]


class PadThenConv(nn.Module):
    """Asymmetric padding of its own, as TensorFlow's SAME has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


STRIDED = {
    "conv3": (nn.Conv2d(3, 4, 3, 2, 1), (2, 2)),
    "conv7": (nn.Conv2d(3, 4, 7, 2, 3), (2, 2)),
    "conv1": (nn.Conv2d(3, 4, 1, 2), (2, 2)),
    "conv3-valid": (nn.Conv2d(3, 4, 3, 2), (2, 2)),
    "patchify": (nn.Conv2d(3, 4, 4, 4), (4, 4)),
    "conv11": (nn.Conv2d(3, 4, 11, 4, 2), (4, 4)),
    "dilated": (nn.Conv2d(3, 4, 3, 2, 2, dilation=2), (2, 2)),
    "depthwise": (nn.Conv2d(3, 3, 3, 2, 1, groups=3), (2, 2)),
    "by-three": (nn.Conv2d(3, 4, 3, (1, 3), 1), (1, 3)),
    "rows-only": (nn.Conv2d(3, 4, 3, (2, 1), 1), (2, 1)),
    "max3": (nn.MaxPool2d(3, 2, 1), (2, 2)),
    "max3-ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 2)),
    "max2": (nn.MaxPool2d(2), (2, 2)),
    "avg2": (nn.AvgPool2d(2), (2, 2)),
    "avg3": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 2)),
    "slice": (Slice(0), (2, 2)),
    "slice-odd": (Slice(1), (2, 2)),
    "unshuffle": (nn.PixelUnshuffle(2), (2, 2)),
    "pad-conv": (PadThenConv(), (2, 2)),
}


@pytest.mark.parametrize("name", STRIDED)
def test_strided_operation_obeys_the_closed_form(name: str) -> None:
    op, stride = STRIDED[name]
    levels = FeatureLevels()
    net, analysis = with_levels(op, SIZE, levels)
    assert analysis.total_stride == stride
    x = photos(2, SIZE)
    y, o = _at_origin(net, levels, stride, x)
    s = torch.tensor(stride)
    for a in range(2 * stride[0]):
        for b in range(2 * stride[1]):
            moved = torch.tensor([[a, b], [b % 5, a]])
            y2, o2 = _at_origin(net, levels, stride, shifted(x, moved))
            assert ((o + moved - o2) % s == 0).all()
            assert torch.equal(y2, shifted(y, (o + moved - o2) // s))


def _at_origin(
    net: torch.fx.GraphModule, levels: FeatureLevels, stride: tuple[int, int], x: Tensor
) -> tuple[Tensor, Tensor]:
    """The output with its final realignment undone, and its origin."""
    y, o = output_and_offsets(net, levels, stride, x)
    s = torch.tensor(stride)
    return shifted(y, -((o + s // 2) // s)), o


class Up(nn.Module):
    """Down by 2 and up again, joined with what it came from."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        kernel, *rest = {"t2": (2, 2), "t3": (3, 2, 1, 1), "t4": (4, 2, 1)}.get(kind, (2, 2))
        self.transposed = nn.ConvTranspose2d(8, 8, kernel, *rest)
        self.widen = nn.Conv2d(8, 32, 1)

    def up(self, z: Tensor) -> Tensor:
        if self.kind in COPIES:
            return COPIES[self.kind](z)
        if self.kind.startswith("t"):
            return self.transposed(z)
        if self.kind == "shuffle":
            return F.pixel_shuffle(self.widen(z), 2)
        options = {} if self.kind == "nearest" else {"align_corners": False}
        return F.interpolate(z, scale_factor=2, mode=self.kind, **options)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        return torch.cat([x, self.up(torch.relu(self.deep(F.max_pool2d(x, 2))))], 1)


def tiled(z: Tensor) -> Tensor:
    """As Keras' UpSampling2D: channels last, an axis at a time."""
    n, c, h, w = z.shape
    y = z.permute(0, 2, 3, 1).unsqueeze(2).repeat(1, 1, 2, 1, 1).reshape(n, 2 * h, w, c)
    return y.unsqueeze(3).repeat(1, 1, 1, 2, 1).reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def expanded(z: Tensor) -> Tensor:
    n, c, h, w = z.shape
    return z[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


COPIES = {
    "tiled": tiled,
    "expanded": expanded,
    "interleaved": lambda z: z.repeat_interleave(2, 2).repeat_interleave(2, -1),
}
UPS = ("t2", "t3", "t4", "shuffle", "nearest", "bilinear", "bicubic", *COPIES)


@pytest.mark.parametrize("kind", UPS)
@pytest.mark.parametrize("select", ["features", "input"])
def test_upsampling_returns_to_the_grid_it_left(kind: str, select: str) -> None:
    model, x = Up(kind), photos(3, SIZE)
    graph = captured(model, SIZE)
    assert worst_change(rewrite(graph, analyse(graph), select=select), x) == 0
    assert worst_change(model, x) > 1e-3


@pytest.mark.parametrize("kind", UPS)
def test_interior_is_what_the_original_computes(kind: str) -> None:
    """With the origin at zero, a pixel far from the border sees what it saw before."""
    size = (32, 32)
    model = Up(kind)
    x = torch.zeros(1, 3, *size)
    x[:, :, 12:20, 12:20] = photos(1, (8, 8))
    levels = FeatureLevels()
    net, _ = with_levels(model, size, levels)
    _, o = output_and_offsets(net, levels, (2, 2), x)
    x = shifted(x, -o)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[..., 8:-8, 8:-8], model(x)[..., 8:-8, 8:-8])


class Unpool(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        padding = (self.kernel - 1) // 2
        y, where = F.max_pool2d(x, self.kernel, 2, padding, return_indices=True)
        return F.max_unpool2d(y.tanh(), where, self.kernel, 2, padding, output_size=SIZE)


def test_max_unpool_puts_values_back_where_they_were() -> None:
    graph, x = captured(Unpool(2), SIZE), photos(3, SIZE)
    assert worst_change(rewrite(graph, analyse(graph)), x) == 0
    assert worst_change(Unpool(2), x) > 1e-3


def test_overlapping_unpool_is_refused() -> None:
    (refusal,) = analyse(captured(Unpool(3), SIZE)).refusals
    assert "overlap" in refusal.reason


class Wide(nn.Module):
    """A dilation that wraps around the map more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=18, dilation=18)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def test_padding_larger_than_the_map_wraps_again() -> None:
    size = (8, 12)
    graph, x = captured(Wide(), size), photos(2, size)
    assert worst_change(rewrite(graph, analyse(graph)), x) == 0


class Channels(nn.Module):
    """Layouts, norms and statistics that keep the image axes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, 2, 1)
        self.group = nn.GroupNorm(3, 12)
        self.layer = nn.LayerNorm(12)
        self.linear = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.conv(x)).permute(0, 2, 3, 1)
        x = F.gelu(self.linear(self.layer(x))).permute(0, 3, 1, 2)
        n, c, h, w = x.shape
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        one, two = x.chunk(2, dim=1)
        gate = torch.sigmoid(x.mean((2, 3), keepdim=True)[:, :6])
        x = torch.cat([one * gate, F.silu(two)], 1).softmax(1)
        return x.amax((2, 3)) + x.mean((2, 3)) + x.sum((2, 3))


def test_layouts_norms_and_gates_are_exact_on_odd_counts() -> None:
    size = (10, 14)
    graph, x = captured(Channels(), size), photos(3, size)
    assert worst_change(rewrite(graph, analyse(graph)), x) == 0


class Laid(nn.Module):
    """A pooled vector laid over the map it came from, in the ways that decoders do it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.conv, self.last = way, nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu()
        n, c, h, w = y.shape
        p = y.mean((2, 3), keepdim=True)
        if self.way == "positions":
            place = torch.arange(h * w, dtype=y.dtype).reshape(1, 1, h, w)
            return self.last(torch.cat([y, p.repeat(1, 1, h, w) + place], 1))
        if self.way == "tiled":
            p = p.permute(0, 2, 3, 1).unsqueeze(2).repeat(1, 1, h, 1, 1).reshape(n, h, 1, c)
            p = p.unsqueeze(3).repeat(1, 1, 1, w, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)
        else:
            p = p.repeat(1, 1, h, w) if self.way == "repeat" else p.expand(n, c, h, w)
        return self.last(torch.cat([y * p, p], 1))


@pytest.mark.parametrize("way", ["tiled", "repeat", "expand"])
def test_a_pooled_vector_laid_over_a_map_has_no_position(way: str) -> None:
    graph, x = captured(Laid(way), SIZE), photos(3, SIZE)
    net = rewrite(graph, analyse(graph))
    for move in ((2, 0), (0, 4), (6, 2)):
        moved = torch.roll(net(x), [m // 2 for m in move], (2, 3))
        assert torch.equal(net(torch.roll(x, move, (2, 3))), moved)


def test_control_positions_laid_over_a_map_are_refused() -> None:
    (refusal,) = analyse(captured(Laid("positions"), SIZE)).refusals
    assert "absolute positions" in refusal.reason


class FlatHead(nn.Module):
    """A map flattened channels last, as Keras does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.LazyLinear(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("select", ["features", "input"])
def test_a_map_flattened_channels_last_collapses(select: str) -> None:
    model, x = FlatHead(), photos(3, SIZE)
    with torch.no_grad():
        model(x)
    graph = captured(model, SIZE)
    analysis = analyse(graph)
    assert analysis.collapses
    assert worst_change(rewrite(graph, analysis, select=select), x) == 0
    assert worst_change(model, x) > 1e-3
