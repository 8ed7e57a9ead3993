"""Exactness on a device: bits of the converted nets with TF32 off and on, and the op that differs.

`gpu.py` has the whole table.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, fx, nn

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.verify.exactness import exact_arithmetic
from equiaudit.sampling.canonical import Canonical

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair" / "rewrite"))

from dense_nets import dense_net
from exact_nets import captured, photos, random_shifts, shifted, torchvision_net
from exactness import DENSE_NETS, NETS, measure, measure_maps

MOST_ERROR = 1e-6
"""Of the range of the output, where bits differ."""
SMALL = ("squeezenet1_1",)
SMALL_DENSE = (DENSE_NETS[0],)
_HEADER = (
    "net",
    "bit-equal",
    "worst error / range",
    "unmodified net",
    "with TF32",
    "holds",
    "first op",
)


@dataclass
class Session:
    """Where and how large, and what did not hold."""

    device: str
    small: bool = False
    ends: float = float("inf")
    """On the clock of `time.monotonic`."""
    failed: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return (32, 32) if self.small else (224, 224)

    def late(self, share: float = 1.0) -> bool:
        """Whether the time is up, or that share of what was left at the beginning."""
        return time.monotonic() > self.ends - (1 - share) * 540

    def claim(self, holds: bool, what: str) -> str:
        """A mark for the table; what does not hold is remembered."""
        if not holds:
            self.failed.append(what)
        return "yes" if holds else "**no**"


def exactness(here: Session) -> Iterator[str]:
    """Every net of docs/exactness.md."""
    yield f"| {' | '.join(_HEADER)} |\n{'|---' * len(_HEADER)}|"
    for name in SMALL if here.small else NETS:
        if here.late(0.5):
            yield f"| {name} | not run: the time was up |"
            continue
        size = (64, 64) if here.small else (224, 224)
        x = photos(2, size, seed=1).to(here.device)
        yield _exact_row(here, name, torchvision_net(name, size), x, measure)
    size = (64, 64) if here.small else (96, 128)
    for name in SMALL_DENSE if here.small else DENSE_NETS:
        if here.late(0.6):
            yield f"| {name} | not run: the time was up |"
            continue
        x = photos(2, size, seed=1).to(here.device)
        yield _exact_row(here, name, dense_net(name, size), x, _of_maps)


def _of_maps(net: nn.Module, x: Tensor, rounds: int) -> tuple[float, float]:
    worst = measure_maps(net, x, rounds)
    return worst.equal, worst.error


def _exact_row(
    here: Session,
    name: str,
    model: nn.Module,
    x: Tensor,
    measured: Callable[[nn.Module, Tensor, int], tuple[float, float]],
) -> str:
    graph = captured(model, (x.shape[2], x.shape[3]))
    net = rewrite(graph, analyse(graph)).to(here.device)
    with exact_arithmetic():
        _, control = measured(model.to(here.device), x, 2)
        equal, worst = measured(net, x, 2)
    with tf32():
        _, loose = measured(net, x, 2)
    holds = here.claim(equal == 1 or worst < MOST_ERROR, f"{name} is exact")
    op = "" if equal == 1 else first_difference(net, x)
    cells = (name, f"{equal:.2%}", f"{worst:.1e}", f"{control:.1e}", f"{loose:.1e}", holds, op)
    return f"| {' | '.join(cells)} |"


@contextmanager
def tf32() -> Iterator[None]:
    """Products of 10 bits where the device has them; as it was afterwards."""
    was = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(was[0])
        torch.backends.cudnn.allow_tf32 = was[1]


@torch.no_grad()
def first_difference(net: fx.GraphModule, x: Tensor) -> str:
    """The first op whose values change when x is shifted, not only their places; "" if none."""

    class Sums(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor) and value.dtype == torch.float32 and len(value) == len(x):
                sums[n.name] = _values(value)
            return value

    sums: dict[str, Tensor] = {}
    with exact_arithmetic():
        Sums(net).run(x)
        before, sums = sums, {}
        Sums(net).run(shifted(x, random_shifts(len(x), (x.shape[2], x.shape[3]), 0)))
    changed = (name for name in before if not torch.equal(before[name], sums[name]))
    found = next(changed, None)
    target = next((n.target for n in net.graph.nodes if n.name == found), "")
    return "" if found is None else f"{found} ({target})"


def _values(x: Tensor) -> Tensor:
    """A number per image of the set of its values, which rolling and circular padding keep."""
    ordered = (x + 0.0).flatten(1).sort(1).values  # -0 and 0 are equal
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    bits = ordered.view(torch.int32).long()
    return (((bits * 2654435761) ^ (bits * bits)) * first).sum(1)


def canonical(here: Session) -> Iterator[str]:
    """Rolled to a position found in the image."""
    name = "vit_b_16"
    model = nn.Sequential(nn.Conv2d(3, 8, 7), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if not here.small:
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None)
    model = model.eval().to(here.device)
    x = photos(4, here.size, seed=2).to(here.device)
    with exact_arithmetic():
        equal, worst = measure(Canonical(model), x, 4)
        _, control = measure(model, x, 4)
    holds = here.claim(equal == 1 or worst < MOST_ERROR, "canonical is exact")
    yield f"{'a small net' if here.small else name}: {equal:.2%} bit-equal, worst error {worst:.1e}"
    yield f"of the range (unmodified {control:.1e}); holds: {holds}."
