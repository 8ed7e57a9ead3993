"""What works on all positions at once, and knows no place, is exact once its sums have no order."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from exact_nets import captured, photos, worst_change
from torch import Tensor, nn

from equiaudit.errors import NothingToDo
from equiaudit.graphs.capture import capture
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.sampling.order_free import (
    order_free_attention,
    order_free_norm,
    order_free_product,
    order_free_softmax,
    order_free_variance,
)

SIZE = (16, 24)
C = 8
Block = Callable[["Net", Tensor], Tensor]


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, like: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(like.shape)


def response_norm(net: Net, x: Tensor) -> Tensor:
    """ConvNeXt V2: the length of each channel over the image."""
    length = x.norm(p=2, dim=(2, 3), keepdim=True)
    return x + x * length / (length.mean(1, keepdim=True) + 1e-6)


def cross_covariance(net: Net, x: Tensor) -> Tensor:
    """XCiT, EdgeNeXt: attention between channels, summed over positions."""
    q, k, v = net.mix(tokens(x)).transpose(1, 2).chunk(3, 1)
    attention = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1)
    return x + (attention @ v).reshape(x.shape)


def fused_cross_covariance(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.mix(tokens(x)).transpose(1, 2).chunk(3, 1)
    return x + F.scaled_dot_product_attention(q, k, v, scale=0.1).reshape(x.shape)


def linear_attention(net: Net, x: Tensor) -> Tensor:
    """EfficientViT: q (k^T v), with a column of ones for the sum, autocast off."""
    q, k, v = net.mix(tokens(x)).chunk(3, -1)
    v = F.pad(v, (0, 1), value=1.0)
    with torch.autocast("cpu", enabled=False):
        y = F.relu(q.float()) @ (F.relu(k.float()).transpose(-1, -2) @ v.float())
        y = y[..., :-1] / (y[..., -1:] + 1e-5)
    return x + as_map(y, x)


def attention(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.mix(tokens(x)).chunk(3, -1)
    return x + as_map(F.scaled_dot_product_attention(q, k, v), x)


def written_attention(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.mix(tokens(x)).reshape(-1, 24, 3, 2, C // 2).permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q * 0.5) @ k.transpose(-2, -1)
    y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 24, C)
    return x + as_map(y, x)


def coarse_keys(net: Net, x: Tensor) -> Tensor:
    """PVT: keys and values of a coarser map."""
    q = net.mix(tokens(x)).chunk(3, -1)[0]
    _, k, v = net.mix(tokens(F.avg_pool2d(x, 2))).chunk(3, -1)
    return x + as_map(F.scaled_dot_product_attention(q, k, v), x)


def gated_pooling(net: Net, x: Tensor) -> Tensor:
    """Global context: a softmax over positions weighs them."""
    weights = x.mean(1, keepdim=True).flatten(2).softmax(-1)
    return x + (weights @ tokens(x)).transpose(1, 2)[..., None]


def deviation(net: Net, x: Tensor) -> Tensor:
    var, mean = torch.var_mean(x, (2, 3), keepdim=True)
    return (x - mean) / (var + 0.1).sqrt() + x.std((2, 3), keepdim=True)


def other_norms(net: Net, x: Tensor) -> Tensor:
    largest = x.norm(p=float("inf"), dim=(2, 3), keepdim=True)
    return x / largest + x / x.norm(p=1, dim=(2, 3), keepdim=True)


def group_deviation(net: Net, x: Tensor) -> Tensor:
    """EvoNorm: the deviation of groups of channels, spread over the map."""
    grouped = x.reshape(-1, 2, C // 2, *x.shape[2:])
    deviation = (grouped.var((2, 3, 4), unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * x.sigmoid() / deviation.expand(grouped.shape).reshape(x.shape)


def unfolded(net: Net, x: Tensor) -> Tensor:
    """MobileViT: attention between the pixels at one place of every 2x2 patch."""
    b, c, h, w = x.shape
    y = x.reshape(b * c * (h // 2), 2, w // 2, 2).transpose(1, 2)
    y = y.reshape(b, c, h * w // 4, 4).transpose(1, 3).reshape(b * 4, h * w // 4, c)
    q, k, v = net.mix(y).chunk(3, -1)
    y = F.scaled_dot_product_attention(q, k, v).reshape(b, 4, h * w // 4, c).transpose(1, 3)
    y = y.reshape(b * c * (h // 2), w // 2, 2, 2).transpose(1, 2)
    return x + y.reshape(b, c, h, w)


def windowed(net: Net, x: Tensor) -> Tensor:
    """Attention in windows of 2x2, with a bias per pair of places in one."""
    b, c, h, w = x.shape
    y = x.permute(0, 2, 3, 1).view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5)
    q, k, v = net.mix(y.reshape(-1, 4, c)).chunk(3, -1)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=net.bias).view(b, h // 2, w // 2, 2, 2, c)
    return x + y.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c).permute(0, 3, 1, 2)


class Net(nn.Module):
    """Patches of 4x4, a block, and a head that reads every value of the map once pooled."""

    def __init__(self, block: Block, *, dense: bool = False) -> None:
        super().__init__()
        self.block, self.dense = block, dense
        self.patch = nn.Conv2d(3, C, 4, stride=4)
        self.mix = nn.Linear(C, 3 * C)
        self.bias = nn.Parameter(torch.randn(4, 4))
        self.last = nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(F.gelu(self.block(self, self.patch(x))))
        return F.interpolate(y, scale_factor=4.0) if self.dense else y.mean((2, 3))


BLOCKS = (
    response_norm,
    cross_covariance,
    fused_cross_covariance,
    linear_attention,
    attention,
    written_attention,
    coarse_keys,
    gated_pooling,
    deviation,
    group_deviation,
    other_norms,
    unfolded,
    windowed,
)


def made(block: Block, *, dense: bool = False) -> Net:
    torch.manual_seed(3)
    net = Net(block, dense=dense).eval()
    with torch.no_grad():
        net.mix.weight.mul_(4)
        net.patch.weight.mul_(3)
    return net


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
@torch.no_grad()
def test_blocks_over_all_positions_are_bit_equal(block: Block) -> None:
    net, x = made(block), photos(2, SIZE, seed=4)
    graph = (
        capture(net, size=SIZE).graph_module if block is linear_attention else captured(net, SIZE)
    )
    analysis = analyse(graph)
    assert not analysis.refusals
    fixed = rewrite(graph, analysis)
    assert worst_change(net, x, 2) > 1e-3  # the control fails
    assert worst_change(fixed, x, 4) == 0

    # The same function as before, of the image at one of its places.
    stride, expected = analysis.total_stride[0], fixed(x[:1])
    places = itertools.product(range(stride), repeat=2)
    rolled = torch.cat([torch.roll(x[:1], place, (-2, -1)) for place in places])
    nearest = (net(rolled) - expected).abs().amax(1).min()
    assert nearest < 2e-5 * expected.abs().max()


@pytest.mark.parametrize("block", [attention, unfolded, windowed])
@torch.no_grad()
def test_maps_come_back_in_place(block: Block) -> None:
    net, x = made(block, dense=True), photos(2, SIZE, seed=5)
    graph = captured(net, SIZE)
    assert worst_change(net, x, 2) > 1e-3
    assert worst_change(rewrite(graph, analyse(graph)), x, 3) == 0
    assert worst_change(rewrite(graph, analyse(graph), select="input"), x, 3) == 0


@torch.no_grad()
def test_tokens_come_back_in_place() -> None:
    def forward(x: Tensor) -> Tensor:
        return tokens(attention(net, net.patch(x)))

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return forward(x)

    net, x = made(attention), photos(1, SIZE, seed=6)
    graph = captured(Tokens(), SIZE)
    fixed = rewrite(graph, analyse(graph))
    rolled = fixed(torch.roll(x, (4, 8), (-2, -1))).reshape(4, 6, C)
    assert torch.equal(rolled, torch.roll(fixed(x).reshape(4, 6, C), (1, 2), (0, 1)))
    assert not torch.equal(rolled, fixed(x).reshape(4, 6, C))


def position_bias(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.mix(tokens(x)).chunk(3, -1)
    return x + as_map(F.scaled_dot_product_attention(q, k, v, torch.ones(24, 24)), x)


def written_bias(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.mix(tokens(x)).chunk(3, -1)
    return x + as_map((q @ k.transpose(1, 2) + torch.eye(24)).softmax(-1) @ v, x)


def query_of_places(net: Net, x: Tensor) -> Tensor:
    """GCViT: each place of every 2x2 window is met by one position of a map of 4x1."""
    b, c, h, w = x.shape
    y = x.permute(0, 2, 3, 1).view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5)
    _, k, v = net.mix(y.reshape(-1, 4, c)).chunk(3, -1)
    q = F.max_pool2d(x, (h // 4, w)).permute(0, 2, 3, 1).repeat_interleave(h * w // 4, 0)
    y = (q.reshape(-1, 4, c) @ k.transpose(1, 2) + net.bias).softmax(-1) @ v
    y = y.view(b, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
    return x + y.reshape(b, h, w, c).permute(0, 3, 1, 2)


def position_embedding(net: Net, x: Tensor) -> Tensor:
    return as_map(tokens(x) + torch.arange(24.0)[:, None], x)


def class_token(net: Net, x: Tensor) -> Tensor:
    return x + torch.cat([x.mean((2, 3))[:, None], tokens(x)], 1).mean(1)[..., None, None]


def along_positions(net: Net, x: Tensor) -> Tensor:
    return x + (tokens(x).transpose(1, 2) @ torch.ones(24, 1))[..., None]


def mixed_sum(net: Net, x: Tensor) -> Tensor:
    """A mean over positions and channels laid in one dimension, cut at other places."""
    return x + x.reshape(-1, 2, 4 * 24).mean(-1)[:, :1, None, None] + x.cumsum(2)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (position_bias, "a bias per pair of positions"),
        (written_bias, "a bias per pair of positions"),
        (query_of_places, "windows to positions of the whole image, with a bias per pair of pos"),
        (position_embedding, "values that belong to absolute positions"),
        (class_token, "joins maps side by side"),
        (along_positions, "a weight per position"),
        (mixed_sum, "positions"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_what_knows_places_is_refused(block: Block, reason: str) -> None:
    graph = captured(made(block), SIZE)
    refusals = analyse(graph).refusals
    assert reason in refusals[0].reason
    with pytest.raises(NothingToDo):
        rewrite(graph, analyse(graph))


def test_sums_without_an_order_are_those_of_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 5, 300, generator=generator) for _ in range(2))
    wide, order = b.double().transpose(1, 2), torch.randperm(300, generator=generator)
    product = order_free_product(a, b.transpose(1, 2), 300)
    torch.testing.assert_close(product.double(), a.double() @ wide, rtol=0, atol=2e-5)
    shuffled = order_free_product(a[..., order], b[..., order].transpose(1, 2), 300)
    assert torch.equal(product, shuffled)
    assert not torch.equal(a @ b.transpose(1, 2), a[..., order] @ b[..., order].transpose(1, 2))

    weights = order_free_softmax(a, [-1])
    torch.testing.assert_close(weights, a.softmax(-1))
    assert torch.equal(weights[..., order], order_free_softmax(a[..., order], [-1]))
    torch.testing.assert_close(order_free_norm(a, [-1], 300, False), a.norm(dim=-1))
    variance = order_free_variance(a, [-1], 300, 1.0, False)
    torch.testing.assert_close(variance.float(), a.var(-1))
    attended = order_free_attention(a, b, b, 0.1, (300, 5), None)
    expected = F.scaled_dot_product_attention(a.double(), b.double(), b.double(), scale=0.1)
    torch.testing.assert_close(attended.double(), expected, rtol=0, atol=1e-5)


def test_gradients_pass_the_rounding() -> None:
    a = torch.randn(3, 4, requires_grad=True)
    order_free_product(a, torch.ones(4, 2), 4).sum().backward()
    torch.testing.assert_close(a.grad, torch.full((3, 4), 2.0))
