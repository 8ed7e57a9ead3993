"""Whole nets: equal bits under every shift, and controls that must fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exact_nets import captured, photos, shifted, torchvision_net, with_levels, worst_change
from nets import resnet20
from torch import Tensor, nn

import equiaudit.repair.rewrite.levels as levels_module
from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.grid import Grid
from equiaudit.repair.rewrite.levels import FeatureLevels
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.verify.margins import selection_margin
from equiaudit.repair.verify.synthetic import synthetic_images

SIZE = (64, 96)
FAST = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "googlenet",
    "alexnet",
    "convnext_tiny",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    return torchvision_net("resnet50", SIZE)


@pytest.mark.parametrize("name", FAST)
def test_logits_are_bit_equal_where_the_original_fails(name: str) -> None:
    model, x = torchvision_net(name, SIZE), photos(3, SIZE, seed=1)
    graph = captured(model, SIZE)
    assert worst_change(rewrite(graph, analyse(graph)), x, rounds=2) == 0
    assert worst_change(model, x, rounds=1) > 1e-3


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_choosing_from_the_image_alone_is_bit_equal_too(name: str) -> None:
    graph = captured(torchvision_net(name, SIZE), SIZE)
    net = rewrite(graph, analyse(graph), select="input")
    assert worst_change(net, photos(3, SIZE, seed=1)) == 0


def test_every_phase_of_a_small_net() -> None:
    size = (16, 24)
    model, x = resnet20().eval(), photos(16, size)
    graph = captured(model, size)
    net = rewrite(graph, analyse(graph))
    phases = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    with torch.no_grad():
        assert torch.equal(net(shifted(x, phases)), net(x))
        assert not torch.equal(model(shifted(x, phases)), model(x))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_memory_format_is_kept(memory: torch.memory_format) -> None:
    size = (32, 32)
    model = resnet20().eval().to(memory_format=memory)
    graph = captured(model, size)
    net = rewrite(graph, analyse(graph))
    seen = []

    class Watch(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.name.startswith("conv2d"):
                seen.append(value.is_contiguous(memory_format=memory))
            return value

    x = photos(2, size).to(memory_format=memory)
    with torch.no_grad():
        Watch(net).run(x)
    assert len(seen) == 19
    assert all(seen)
    assert worst_change(net, x) == 0


def test_parameters_are_shared() -> None:
    graph = captured(resnet20(), (32, 32))
    net = rewrite(graph, analyse(graph))
    assert dict(net.named_parameters()).keys() == dict(graph.named_parameters()).keys()
    for name, parameter in net.named_parameters():
        assert parameter is graph.get_parameter(name)


@pytest.fixture(scope="module")
def synthetic() -> tuple[nn.Module, Tensor]:
    size = (64, 64)
    x = torch.stack(list(synthetic_images(size).values())) * 2 - 1
    return torchvision_net("resnet18", size), x


@torch.no_grad()
def _failures(net: nn.Module, x: Tensor) -> int:
    """How many images change their logits under some odd shift."""
    y, failed = net(x), torch.zeros(len(x), dtype=torch.bool)
    for shift in ((1, 1), (3, 5)):
        failed |= (net(torch.roll(x, shift, (2, 3))) != y).any(1)
    return int(failed.sum())


@pytest.mark.parametrize("select", ["features", "input"])
def test_synthetic_images_are_bit_equal(synthetic: tuple[nn.Module, Tensor], select: str) -> None:
    model, x = synthetic
    graph = captured(model, (64, 64))
    assert _failures(rewrite(graph, analyse(graph), select=select), x) == 0


@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny"])
def test_synthetic_images_are_bit_equal_on_deeper_nets(
    name: str, synthetic: tuple[nn.Module, Tensor]
) -> None:
    graph = captured(torchvision_net(name, (64, 64)), (64, 64))
    assert _failures(rewrite(graph, analyse(graph)), synthetic[1]) == 0


def test_control_plain_l2_fails_on_synthetic_images(
    synthetic: tuple[nn.Module, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = levels_module.tie_break_table
    monkeypatch.setattr(levels_module, "tie_break_table", lambda *a: table(*a) * 0)
    model, x = synthetic
    net, _ = with_levels(model, (64, 64), FeatureLevels())
    assert _failures(net, x) > 5


class PerOperation(FeatureLevels):
    """The literal reading of MASS: every strided operation chooses for itself."""

    def descend(self, b: Any, source: Any, channels: int, fine: Grid, coarse: Grid) -> None:
        for axis, stride in enumerate(coarse.strides):
            self.known[axis].pop(int(stride), None)
        super().descend(b, source, channels, fine, coarse)


def test_control_an_origin_per_operation_fails(resnet50: nn.Module) -> None:
    net, _ = with_levels(resnet50, SIZE, PerOperation())
    assert worst_change(net, photos(3, SIZE, seed=1)) > 1e-3


def test_control_bfloat16_norm_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def energy(source: Any, channels: int, size: tuple[int, int], ratios: Any) -> Any:
        (height, width), (sh, sw) = size, ratios
        y = source.bfloat16().reshape(-1, channels, height // sh, sh, width // sw, sw)
        return torch.sum(y * y, [1, 2, 4])

    table = levels_module.tie_break_table
    monkeypatch.setattr(levels_module, "_energy", energy)
    monkeypatch.setattr(levels_module, "tie_break_table", lambda *a: table(*a) * 0)
    size = (64, 64)
    net, _ = with_levels(torchvision_net("resnet18", size), size, FeatureLevels())
    assert worst_change(net, photos(8, size, seed=1), rounds=4) > 1e-3


def test_control_a_zero_padded_convolution_left_in_fails() -> None:
    graph, x = captured(resnet20(), (32, 32)), photos(3, (32, 32))
    analysis = analyse(graph)
    assert worst_change(rewrite(graph, analysis), x) == 0
    assert worst_change(rewrite(graph, analysis, skip="layer2.1.conv2"), x) > 1e-5


def test_only_leaves_the_rest_as_it_is() -> None:
    graph, x = captured(resnet20(), (32, 32)), photos(2, (32, 32))
    net = rewrite(graph, analyse(graph), only="nothing")
    with torch.no_grad():
        assert torch.equal(net(x), graph(x))


def test_what_is_refused_is_not_rewritten() -> None:
    graph = captured(resnet20(), (33, 32))
    with pytest.raises(NothingToDo, match="33x32"):
        rewrite(graph, analyse(graph))


def test_an_unknown_rule_of_selection_is_an_input_error() -> None:
    graph = captured(resnet20(), (32, 32))
    with pytest.raises(InputError, match="select"):
        rewrite(graph, analyse(graph), select="l2")  # type: ignore[arg-type]


def test_the_result_exports_with_a_dynamic_batch() -> None:
    graph, x = captured(resnet20(), (32, 32)), photos(5, (32, 32))
    net = rewrite(graph, analyse(graph))
    with torch.no_grad():
        assert torch.equal(captured(net, (32, 32))(x), net(x))


def test_selection_margin_is_zero_for_a_tie_and_positive_else() -> None:
    graph = captured(resnet20(), (32, 32))
    net = rewrite(graph, analyse(graph))
    x = torch.cat([photos(2, (32, 32)), torch.full((1, 3, 32, 32), 0.5)])
    margin = selection_margin(net, x)
    assert margin.shape == (3,)
    assert margin[2] == 0
    assert (margin[:2] > 1e-9).all()
    assert (margin[:2] < 1).all()
    moved = selection_margin(net, torch.roll(x, (5, 3), (2, 3)))
    assert torch.equal(moved, margin)


def test_convolutions_to_few_channels_read_memory_with_channels_first() -> None:
    """Behind a norm over channels memory has them last, where some CPUs round by position."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 6, 3, 2, 1), nn.LayerNorm(6)
            self.head = nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return self.head(y)

    class Watched(torch.fx.Interpreter):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if "conv" in str(target):
                orders.append(args[0].is_contiguous() and args[1].is_contiguous())
            return super().call_function(target, args, kwargs)

    graph = captured(Head().eval(), (8, 12))
    orders: list[bool] = []
    with torch.no_grad():
        Watched(graph).run(photos(2, (8, 12)))
        assert not all(orders)  # the original is the control
        orders.clear()
        Watched(rewrite(graph, analyse(graph))).run(photos(2, (8, 12)))
    assert orders == [True, True]
