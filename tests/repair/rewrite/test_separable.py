"""A max pool taken apart gives the pool's values, and goes to ONNX as one operator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from exact_nets import captured, photos
from torch import Tensor, nn

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.rewrite.separable import native_pools, separable_max_pool

CASES = [
    ((3, 3), (2, 2), (1, 1)),
    ((2, 4), (2, 3), (1, 1)),
    ((3, 3), (1, 1), (2, 2)),
    ((1, 3), (1, 2), (1, 1)),
    ((5, 1), (3, 1), (1, 1)),
]


def _image() -> Tensor:
    x = torch.randn(2, 3, 17, 23, generator=torch.Generator().manual_seed(0))
    x[0, 0, 3, 3], x[1, 2, 5, 7], x[1, 1] = float("nan"), float("inf"), -float("inf")
    return x


@pytest.mark.parametrize(("kernel", "stride", "dilation"), CASES)
def test_values_are_those_of_the_pool(kernel: tuple, stride: tuple, dilation: tuple) -> None:
    x = _image()
    pool = F.max_pool2d(x, kernel, stride, 0, dilation)
    apart = separable_max_pool(x, kernel, stride, dilation, tuple(pool.shape[2:]))
    assert torch.equal(apart.isnan(), pool.isnan())
    assert torch.equal(apart.nan_to_num(7.0), pool.nan_to_num(7.0))


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((3, 5), 1, (1, 2))])
def test_a_rewritten_net_takes_its_pools_apart_and_can_put_them_back(pool: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool, nn.Conv2d(4, 4, 3, 2, 1)).eval()
    graph = captured(net, (16, 24))
    fixed = rewrite(graph, analyse(graph))
    whole = native_pools(fixed)
    assert _pools(fixed) == 0
    assert _pools(whole) == 1
    x = photos(3, (16, 24))
    assert torch.equal(fixed(x), whole(x))


def test_channels_last_keeps_the_operator_which_is_fast_there() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)).eval()
    graph = captured(net.to(memory_format=torch.channels_last), (16, 24))
    assert _pools(rewrite(graph, analyse(graph))) == 1


def _pools(graph: torch.fx.GraphModule) -> int:
    return sum("max_pool2d" in str(node.target) for node in graph.graph.nodes)


@pytest.mark.parametrize("several", [1, 2])
def test_a_depthwise_convolution_in_blocks_is_the_whole_one(
    several: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equiaudit.repair.rewrite.rules import conv

    net = nn.Conv2d(40, 40 * several, 3, 2, 1, groups=40).eval()
    graph = captured(nn.Sequential(nn.Conv2d(3, 40, 1), net).eval(), (16, 24))
    x = photos(3, (16, 24))
    whole = rewrite(graph, analyse(graph))
    monkeypatch.setattr(conv, "_BLOCK", 1)
    blocks = rewrite(graph, analyse(graph))
    assert _convolutions(whole) == 2
    assert _convolutions(blocks) == 1 + 3  # 40 channels are 16 + 16 + 8
    assert torch.equal(whole(x), blocks(x))


def _convolutions(graph: torch.fx.GraphModule) -> int:
    return sum("conv2d" in str(node.target) for node in graph.graph.nodes)
