"""A small converted net and images that its conversion changes, shared by these tests."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import torch
from nets import tiny_net
from torch import fx

from equiaudit.graphs.capture import capture
from equiaudit.models.types import Preprocess
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.training import Examples, calibrate

SIZE = (16, 16)
HOW = Preprocess(SIZE, (0.5,) * 3, (0.25,) * 3)


@cache
def original() -> fx.GraphModule:
    net = tiny_net().eval()
    with torch.no_grad():
        net.head.weight.mul_(20)
    graph = capture(net, size=SIZE).graph_module
    calibrate(graph, examples().batches(96, torch.device("cpu")))
    return graph


def converted() -> fx.GraphModule:
    return rewrite(original(), analyse(original()))


def disturbed() -> fx.GraphModule:
    """The converted net with noise on its weights: something to bring back."""
    return shaken(converted())


def shaken(
    graph: fx.GraphModule, names: tuple[str, ...] = ("conv2.weight", "head.weight")
) -> fx.GraphModule:
    net = copy.deepcopy(graph)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name in names:
            weight = net.get_parameter(name)
            weight += weight.std() * torch.randn(weight.shape, generator=generator)
    return net


def examples(count: int = 96, *, seed: int = 0, labelled: bool = False) -> Examples:
    """Smooth random images; the label is the brightest of three channels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3))
    pixels = coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)
    labels = torch.from_numpy(pixels.mean((1, 2)).argmax(1))
    return Examples(pixels, HOW, labels if labelled else None)


def weights(net: fx.GraphModule) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
