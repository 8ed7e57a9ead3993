from __future__ import annotations

import pytest
import torch
import torchvision
from exact_nets import captured
from nets import resnet20
from torch import Tensor, nn

from equiaudit.repair.rewrite.analyse import analyse


def test_plan_of_a_residual_net() -> None:
    analysis = analyse(captured(torchvision.models.resnet18(), (64, 96)))
    assert analysis.refusals == ()
    assert analysis.total_stride == (32, 32)
    assert not analysis.dense
    assert analysis.collapses == ()
    stem = analysis.ops[0]
    assert (stem.module, stem.op, stem.stride, stem.padding) == (
        "conv1",
        "conv2d",
        (2, 2),
        (3,) * 4,
    )
    assert stem.uneven  # (64 + 6 - 7) % 2 == 1
    assert stem.fixable
    assert "layer4.0.downsample.0" in {op.module for op in analysis.ops}
    assert "layer1.0.bn1" not in {op.module for op in analysis.ops}


def test_grids_follow_the_strides() -> None:
    graph = captured(resnet20(), (32, 48))
    analysis = analyse(graph)
    strides = [
        analysis.grids[n.name].strides for n in graph.graph.nodes if "conv2d" in str(n.target)
    ]
    assert strides[0] == (1, 1)
    assert strides[-1] == (4, 4)
    assert analysis.grids["conv2d"].sizes == (32, 48)


def test_a_flatten_head_is_a_collapse() -> None:
    analysis = analyse(captured(torchvision.models.alexnet(), (224, 224)))
    assert analysis.refusals == ()
    assert analysis.collapses


def test_strides_of_the_axes_may_differ() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, (1, 2), 1), nn.Conv2d(4, 4, 3, (2, 2), 1))
    analysis = analyse(captured(net, (16, 32)))
    assert analysis.total_stride == (2, 4)
    assert analysis.dense
    assert str(analysis.sizes_that_fit) == "heights in 2s and widths in 4s"


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(1, 3, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.places


class Corners(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x[:, :, ::2, ::2]
        return nn.functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)


class OddRatio(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, size=(24, 24), mode="bilinear")


class TwoAndThree(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2].mean((2, 3)) + x[:, :, ::3, ::3].mean((2, 3))


REFUSED = {
    "attention": (torchvision.models.vit_b_16(image_size=32), (32, 32), "positions"),
    "windows": (torchvision.models.swin_t(), (64, 64), "positions"),
    "absolute": (Positions(), (16, 16), "absolute positions"),
    "corners": (Corners(), (16, 16), "align_corners"),
    "ratio": (OddRatio(), (16, 16), "whole ratio"),
    "not-nested": (TwoAndThree(), (24, 24), "do not nest"),
    "odd-size": (resnet20(), (30, 33), "30x33"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_node_reason_and_a_way_out(name: str) -> None:
    model, size, reason = REFUSED[name]
    refusals = analyse(captured(model, size)).refusals
    assert reason in refusals[0].reason
    assert refusals[0].node
    assert "--method canonical" in refusals[0].remedy


def test_sizes_near_an_odd_one_are_named() -> None:
    (refusal,) = analyse(captured(resnet20(), (30, 33))).refusals
    assert "--size 28x32 or --size 32x36" in refusal.remedy


def test_batch_norm_in_training_mode_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4, track_running_stats=False))
    (refusal,) = analyse(captured(net, (16, 16))).refusals
    assert "statistics of the batch" in refusal.reason
    assert "eval()" in refusal.remedy
