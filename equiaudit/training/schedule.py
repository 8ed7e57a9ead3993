"""The learning rate of every step, as a function of the step."""

from __future__ import annotations

import math

_START, _END = 1 / 25, 1e-5


def one_cycle(step: int, steps: int, peak: float, warmup: float) -> float:
    """The rate at `step` of 0..`steps` - 1: a cosine up to `peak`, then one down to nearly 0.

    It starts at a 25th of `peak`, reaches it after the share `warmup` of the steps and ends
    at 1e-5 of it. Smith & Topin 2019, with cosines.
    """
    top = warmup * max(steps - 1, 1)
    if step < top:
        return _between(_START * peak, peak, step / top)
    return _between(peak, _END * peak, (step - top) / max(steps - 1 - top, 1))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * (1 - math.cos(math.pi * min(share, 1.0))) / 2
