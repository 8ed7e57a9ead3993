"""How much slower one net is than another, with an interval."""

from __future__ import annotations

import time

import torch

from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.net import Net
from equiaudit.results import Estimate

__all__ = ["slowdown"]

_TURNS = 21
_LOW, _HIGH = 5, 15
"""Of 21 sorted ratios, the sixth and the sixteenth enclose the median in 97.3% of runs."""


def slowdown(before: Net, after: Net, batch: torch.Tensor) -> Estimate:
    """Time of `after` over time of `before` on `batch` on the CPU: the median of 21 turns.

    The interval is that of order statistics; `n` counts turns.
    """
    first, second = before.on("cpu"), after.on("cpu")
    with torch.inference_mode():
        ratios = [_ratio(first, second, batch) for _ in range(_TURNS + 1)][1:]
    ratios.sort()
    return Estimate(
        value=ratios[_TURNS // 2],
        low=ratios[_LOW],
        high=ratios[_HIGH],
        n=_TURNS,
        method="order-statistics",
        confidence=0.973,
    )


def _ratio(first: Run, second: Run, batch: torch.Tensor) -> float:
    before = _seconds(first, batch)
    return _seconds(second, batch) / before


def _seconds(run: Run, batch: torch.Tensor) -> float:
    start = time.perf_counter()
    run(batch)
    return time.perf_counter() - start
