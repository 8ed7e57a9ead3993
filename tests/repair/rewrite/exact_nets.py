"""Nets that react to their input, and shifts, for the tests of the rewriter."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.fx as fx
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from equiaudit.repair.rewrite.analyse import Analysis, analyse
from equiaudit.repair.rewrite.levels import FeatureLevels, Levels
from equiaudit.repair.rewrite.rewrite import rewrite_with

Size = tuple[int, int]


def photos(count: int, size: Size, seed: int = 0) -> Tensor:
    """Noise with the spectrum of photographs, (count, 3, H, W), unit variance."""
    noise = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))
    rows, cols = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])
    x = torch.fft.irfft2(torch.fft.rfft2(noise) / (rows**2 + cols**2 + 1e-4).sqrt(), s=size)
    return (x / x.std((1, 2, 3), keepdim=True)).contiguous()


@torch.no_grad()
def calibrated(model: nn.Module, size: Size) -> nn.Module:
    """Random affine weights and fitted statistics in every batch norm, so that features vary."""
    generator = torch.Generator().manual_seed(0)
    hooks = []
    for module in model.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            module.weight.copy_(torch.rand(n, generator=generator) * 0.5 + 0.75)
            module.bias.copy_(torch.randn(n, generator=generator) * 0.3)
            hooks.append(module.register_forward_hook(_fit))
    model(photos(4, size))
    for hook in hooks:
        hook.remove()
    return model


def _fit(norm: nn.BatchNorm2d, inputs: tuple[Tensor], _: Tensor) -> Tensor:
    (x,) = inputs
    norm.running_mean.copy_(x.mean((0, 2, 3)))
    norm.running_var.copy_(x.var((0, 2, 3)) + 1e-5)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def torchvision_net(name: str, size: Size) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return calibrated(torchvision.models.get_model(name, weights=None, **options), size)


def captured(model: nn.Module, size: Size, channels: int = 3) -> fx.GraphModule:
    batch = torch.export.Dim("batch", min=1, max=1024)
    x = torch.randn(2, channels, *size)
    return torch.export.export(model.eval(), (x,), dynamic_shapes=({0: batch},)).module()


def random_shifts(count: int, size: Size, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randint(0, n, (count,), generator=generator) for n in size]
    return torch.stack(draw, 1)


def shifted(x: Tensor, shifts: Tensor) -> Tensor:
    """Each image rolled by its own (rows, columns), by torch.roll: the reference."""
    return torch.stack(
        [torch.roll(i, d, (-2, -1)) for i, d in zip(x, shifts.tolist(), strict=True)]
    )


@torch.no_grad()
def worst_change(net: Callable[[Tensor], Tensor], x: Tensor, rounds: int = 3) -> float:
    """Largest change of the outputs over random shifts, relative to their range; 0 is bit-equal."""
    size = (x.shape[2], x.shape[3])
    y = net(x)
    worst = 0.0
    for seed in range(rounds):
        moved = random_shifts(len(x), size, seed)
        expected = shifted(y, moved) if y.dim() == 4 and y.shape[2:] == x.shape[2:] else y
        worst = max(worst, (net(shifted(x, moved)) - expected).abs().max().item())
    return worst / (y.max() - y.min()).item()


def with_levels(model: nn.Module, size: Size, levels: Levels) -> tuple[fx.GraphModule, Analysis]:
    graph = captured(model, size)
    analysis = analyse(graph)
    return rewrite_with(graph, analysis, levels), analysis


@torch.no_grad()
def output_and_offsets(
    net: fx.GraphModule, levels: FeatureLevels, stride: Size, x: Tensor
) -> tuple[Tensor, Tensor]:
    """The output and the offsets (B, 2) that the net chose for the level of `stride`."""
    wanted = [levels.known[axis][s].name if s > 1 else None for axis, s in enumerate(stride)]
    seen: dict[str, Tensor] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            seen[n.name] = value = super().run_node(n)
            return value

    y = Watch(net).run(x)
    zero = torch.zeros(len(x), dtype=torch.int64)
    return y, torch.stack([zero if name is None else seen[name] for name in wanted], 1)
