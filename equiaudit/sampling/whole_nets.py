"""What a net of layers must not have: a grid or a border that stays where it is."""

from __future__ import annotations

from torch import nn

from equiaudit.sampling.circles import circular, steps
from equiaudit.sampling.mass import MASS, MASSUp
from equiaudit.sampling.polyphase import PolyphaseDown, PolyphaseUp, Selector

_LAYERS = (MASS, MASSUp, PolyphaseDown, PolyphaseUp, Selector)


def circular_(net: nn.Module) -> nn.Module:
    """Make the paddings between the layers of `net` circular and its global mean order-free.

    In place; returns `net`. The names of parameters stay. What is inside `MASS`, `MASSUp` and the
    polyphase layers is theirs. Raises ValueError naming a convolution, pool or filter that samples
    outside of them, or has no circular form (see `circular`). Functions in a `forward`, such as
    `F.max_pool2d`, are not seen.
    """
    inside = {id(p) for m in net.modules() if isinstance(m, _LAYERS) for p in m.modules()}
    for path, module in net.named_modules():
        if id(module) not in inside and max(steps(module)) > 1:
            raise ValueError(
                f"{path} ({type(module).__name__}) samples a grid that stays where it is: write"
                " MASS(it, stride), or give it stride 1 and put a PolyphaseDown behind it"
            )
    for parent in list(net.modules()):
        if id(parent) not in inside:
            for name, child in list(parent.named_children()):
                if not isinstance(child, _LAYERS) and not list(child.children()):
                    setattr(parent, name, circular(child)[0])
    return net
