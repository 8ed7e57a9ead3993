"""Mixes of two images. How windows are moved is in `equiaudit.training.windows`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mix:
    """Which image of a batch is mixed with which: `share` (N,) of itself, the rest of `partner`.

    Mixup (Zhang et al. 2018), with a share per image; the target is what the teacher says of
    the mix. Every draw comes from one numpy generator: the same seed gives the same mixes on
    every machine.
    """

    share: Tensor
    partner: Tensor

    @staticmethod
    def draw(count: int, alpha: float, rng: np.random.Generator) -> Mix:
        """Shares from Beta(alpha, alpha); with `alpha` 0 every image stays itself."""
        if alpha <= 0:
            return Mix(torch.ones(count), torch.arange(count))
        share = torch.from_numpy(rng.beta(alpha, alpha, count)).float()
        return Mix(share, torch.from_numpy(rng.permutation(count)))

    def of(self, x: Tensor) -> Tensor:
        """`x` (N, C, H, W) mixed, of the same dtype."""
        share = self.share.to(x.device).view(-1, 1, 1, 1)
        mix = share * x + (1 - share) * x[self.partner.to(x.device)]
        return mix.to(x.dtype) if x.is_floating_point() else mix.round().to(x.dtype)
