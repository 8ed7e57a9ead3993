"""What a check is."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Protocol

import torch

from equiaudit.repair.save.formats import Run
from equiaudit.results.repair import Verification


class Check(Protocol):
    """The check that a conversion has to pass: what it promises, put to the test."""

    def __call__(
        self,
        run: Run,
        original: Run,
        images: Mapping[str, torch.Tensor],
        *,
        device: str,
        comparisons: int,
        seed: int,
        subject: str,
        until: float = inf,
    ) -> Verification:
        """Compare `run` with itself under shifts of `images` (C, H, W), `original` as control.

        After `until`, by `time.monotonic`, no further batch begins.
        """
        ...
