"""What a graph costs: latency measured in turns, parameters, bytes."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from equiaudit.repair.formats import Run
from equiaudit.repair.methods.base import Net
from equiaudit.results.repair import Cost

__all__ = ["costs"]

_ROUNDS = 7


def costs(before: Net, after: Net, batch: torch.Tensor, source: Path | None) -> tuple[Cost, Cost]:
    """The cost of both on `batch`, on its device: the median of seven runs each, in turns.

    `source` is the file that `before` came from.
    """
    runs = [net.on(batch.device.type) for net in (before, after)]
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for _ in range(_ROUNDS + 1):
            for run, taken in zip(runs, times, strict=True):
                taken.append(_seconds(run, batch))
    first, second = (statistics.median(taken[1:]) * 1e3 for taken in times)
    size = source.stat().st_size if source is not None and source.is_file() else None
    return _cost(before, batch, first, size), _cost(after, batch, second, None)


def _seconds(run: Run, batch: torch.Tensor) -> float:
    start = time.perf_counter()
    run(batch)
    if batch.device.type == "cuda":
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - start


def _cost(net: Net, batch: torch.Tensor, latency: float, size: int | None) -> Cost:
    return Cost(
        latency_ms=latency,
        batch_size=len(batch),
        threads=torch.get_num_threads(),
        device=batch.device.type,
        parameters=net.parameters,
        bytes=size,
    )
