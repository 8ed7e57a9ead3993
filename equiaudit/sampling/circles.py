"""Modules of torch that know where a map ends, made to treat it as a circle.

A convolution or pool with padding of its own, an adaptive mean, a reflected blur: in a net that is
meant to be equivariant each of them tells the border from the middle, without a word.
"""

from __future__ import annotations

import copy

from torch import nn

from equiaudit.sampling.blurpool import BlurPool
from equiaudit.sampling.ddac import DDAC
from equiaudit.sampling.mean import OrderFreeMean
from equiaudit.sampling.polyphase import pair
from equiaudit.sampling.wrapping import CircularPad2d
from equiaudit.torch_private import with_children

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_FIXED_PADS = (nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d)


def circular(op: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """`op` with every padding in it circular, and the names of what was changed.

    Parameters are shared with `op`, which stays as it is. Convolutions, max and average pools,
    constant, reflected and replicated paddings, `BlurPool` and `DDAC` are changed; an adaptive
    mean of one element becomes an `OrderFreeMean`. Raises ValueError naming a module that has no
    circular form: other adaptive pools, transposed convolutions, align_corners.
    """
    changed: list[str] = []
    return _changed(op, "", changed), tuple(changed)


def steps(module: nn.Module) -> tuple[int, int]:
    """The stride of a convolution, pool or filter; (1, 1) for anything else."""
    if isinstance(module, nn.Conv2d | BlurPool | DDAC | nn.MaxPool2d | nn.AvgPool2d):
        return pair(module.stride)  # type: ignore[arg-type]
    return (1, 1)


def _changed(module: nn.Module, path: str, changed: list[str]) -> nn.Module:
    """The module, or a copy of it whose children are changed; parameters are shared."""
    children = list(module.named_children())
    if not children or isinstance(module, DDAC):
        twin = _circular_leaf(module, path or type(module).__name__)
        if twin is not module:
            kind = type(module).__name__
            changed.append(f"{path} ({kind})" if path else kind)
        return twin
    found = {n: _changed(child, f"{path}.{n}".lstrip("."), changed) for n, child in children}
    if all(found[name] is child for name, child in children):
        return module
    return with_children(module, found)


def _circular_leaf(module: nn.Module, path: str) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        return _convolution(module)
    if isinstance(module, _POOLS):
        return _pool(module)
    if isinstance(module, BlurPool | DDAC):
        return _filter(module)
    if isinstance(module, _FIXED_PADS):
        amounts = module.padding
        return CircularPad2d(amounts if isinstance(amounts, int) else tuple(amounts))  # type: ignore[arg-type]
    if isinstance(module, _ADAPTIVE):
        return _mean(module, path)
    # ValueError for what reads the border of a map and has no circular form here.
    kind = type(module).__name__
    if isinstance(module, nn.ConvTranspose2d):
        raise ValueError(f"{path} ({kind}) goes up: put it into MASSUp, with its MASS on the way")
    if isinstance(module, nn.Upsample) and module.align_corners:
        raise ValueError(f"{path} ({kind}) ties the corners of maps together: align_corners=False")
    return module


def _convolution(conv: nn.Conv2d) -> nn.Module:
    if conv.padding_mode == "circular" or conv.padding in ("valid", 0, (0, 0)):
        return conv
    twin = copy.copy(conv)
    twin.padding_mode = "circular"
    return twin


def _filter(module: BlurPool | DDAC) -> nn.Module:
    if module.padding == "circular":
        return module
    twin = copy.copy(module)
    twin.padding = "circular"
    return twin


def _pool(pool: nn.Module) -> nn.Module:
    rows, columns = pair(getattr(pool, "padding", 0))
    if (rows, columns) == (0, 0):
        return pool
    twin = copy.copy(pool)
    twin.padding = 0  # type: ignore[assignment]
    return nn.Sequential(CircularPad2d((columns, columns, rows, rows)), twin)


def _mean(module: nn.Module, path: str) -> nn.Module:
    kind, size = type(module).__name__, module.output_size
    if size not in (1, (1, 1)):
        raise ValueError(f"{path} ({kind}) cuts maps into fixed cells of {size}, which stay put")
    return OrderFreeMean() if isinstance(module, nn.AdaptiveAvgPool2d) else module
