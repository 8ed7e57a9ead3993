"""What the learned selectors share: a small net run on every component, averaged without order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equiaudit.sampling.mean import order_free_mean
from equiaudit.sampling.polyphase import components
from equiaudit.sampling.wrapping import circular_pad

# On fewer positions a convolution may treat the last ones differently, by a bit.
_LEAST_SIDE = 4


def component_means(
    x: Tensor,
    stride: tuple[int, int],
    net: Callable[[Tensor], Tensor],
    *,
    dtype: torch.dtype,
    exact: bool,
) -> Tensor:
    """mean(net(component)) of every component of x (B, C, H, W): (B, sh*sw).

    `net` maps (N, C, h, w) of `dtype` to (N, C', h', w') and commutes with circular shifts. With
    `exact` the means are float64 and do not depend on where content lies; else they are plain
    and differentiable. A map under 4 px wide is repeated first, which changes no mean.
    """
    parts = components(x, stride)
    count = parts.shape[1]
    stack = parts.reshape(-1, *parts.shape[2:]).to(dtype)
    maps = net(_at_least(stack))
    if not exact:
        return maps.mean((1, 2, 3)).reshape(-1, count)
    elements = maps.shape[1] * maps.shape[2] * maps.shape[3]
    return order_free_mean(maps.float(), [1, 2, 3], elements, False).double().reshape(-1, count)


def _at_least(x: Tensor) -> Tensor:
    times = [-(-_LEAST_SIDE // n) for n in x.shape[-2:]]
    return x if times == [1, 1] else x.repeat(1, 1, times[0], times[1])


def same_conv(x: Tensor, conv: nn.Conv2d, *, circular: bool = True) -> Tensor:
    """A convolution of stride 1 that keeps the size, on a circle or on a map bordered by zeros."""
    before = [(k - 1) // 2 for k in conv.kernel_size]
    after = [k // 2 for k in conv.kernel_size]
    pads = (before[1], after[1], before[0], after[0])
    if circular:
        padded = circular_pad(x, pads, (x.shape[2], x.shape[3]))
    else:
        padded = nn.functional.pad(x, list(pads))
    return _conv(padded, conv.weight, conv.bias)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv2d of stride 1 without padding, a single output channel computed twice.

    A 1x1 convolution to one channel is a product of a matrix and a vector, in which some CPUs
    treat the elements after the last whole vector differently, by a bit; one to two is not.
    """
    if weight.shape[0] != 1:
        return nn.functional.conv2d(x, weight, bias)
    both = None if bias is None else torch.cat([bias, bias])
    return nn.functional.conv2d(x, torch.cat([weight, weight]), both)[:, :1].contiguous()


@torch.no_grad()
def copy_channels_(conv: nn.Conv2d) -> None:
    """Make a convolution copy its first channels to its output, and nothing else."""
    nn.init.dirac_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
