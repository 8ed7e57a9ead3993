"""Changes to training images: flips, crops, shifts on the torus, and mixes of two.

All act on a batch (N, C, H, W) that is ready for the model, so on any number of channels and
any normalisation. A mask (N, H, W) moves with its image. Every draw comes from one numpy
generator: the same seed gives the same batch on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equiaudit.sampling.wrapping import gather_window

__all__ = ["Augmentation", "mixed"]


@dataclass(frozen=True)
class Augmentation:
    """Which images are moved, and how far.

    Half of the images are mirrored where `flip` is set. A share `roll` moves by any distance on
    the torus; the others by up to `crop` px in both axes, and what enters at the border is the
    mirrored image. An exact net does not notice the torus, but the original does and answers
    worse, so there is nothing to learn from such a pair: `roll` is for nets that are not exact.
    """

    crop: int
    flip: bool = True
    roll: float = 0.0

    def __call__(
        self, x: Tensor, rng: np.random.Generator, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`x` (N, C, H, W), and `mask` (N, H, W) moved with it."""
        count, _, height, width = x.shape
        kind = rng.random((count, 2))
        anywhere = kind[:, 0] < self.roll
        mirrored = (kind[:, 1] < 0.5) if self.flip else np.zeros(count, bool)
        rows, cols = (
            _indices(self._moves(rng, size, anywhere), size, anywhere) for size in (height, width)
        )
        cols[mirrored] = cols[mirrored, ::-1]
        moved = _read(x, rows, cols)
        return moved, None if mask is None else _read(mask[:, None], rows, cols)[:, 0]

    def _moves(self, rng: np.random.Generator, size: int, anywhere: np.ndarray) -> np.ndarray:
        near = rng.integers(-self.crop, self.crop + 1, len(anywhere))
        far = rng.integers(0, size, len(anywhere))
        moves: np.ndarray = np.where(anywhere, far, near)
        return moves


def mixed(x: Tensor, alpha: float, rng: np.random.Generator) -> Tensor:
    """Each image of `x` (N, C, H, W) mixed with another by a share from Beta(alpha, alpha).

    Mixup (Zhang et al. 2018), with a share per image; the target is what the teacher says of
    the mix. `alpha` 0 returns x.
    """
    if alpha <= 0:
        return x
    share = torch.from_numpy(rng.beta(alpha, alpha, (len(x), 1, 1, 1))).float().to(x.device)
    partner = torch.from_numpy(rng.permutation(len(x))).to(x.device)
    mix = share * x + (1 - share) * x[partner]
    return mix if x.is_floating_point() else mix.round().to(x.dtype)


def _indices(moves: np.ndarray, size: int, circular: np.ndarray) -> np.ndarray:
    """Where each image reads along one axis, (N, size)."""
    at = np.arange(size)[None] - moves[:, None]
    period = max(2 * (size - 1), 1)
    mirrored = np.abs((at + size - 1) % period - (size - 1))
    index: np.ndarray = np.where(circular[:, None], at % size, mirrored)
    return index


def _read(x: Tensor, rows: np.ndarray, cols: np.ndarray) -> Tensor:
    channels, height, width = x.shape[1:]
    down, across = (torch.from_numpy(i.copy()).to(x.device) for i in (rows, cols))
    return gather_window(x, down, across, (channels, height, width), (height, width))
