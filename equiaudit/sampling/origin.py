"""Choosing the origin of a sampling grid, once per sample, so that it moves with the content.

MASS section 4.1 takes the polyphase component with the largest l2 norm over all channels. That
is the rule here wherever it decides. Its statistic is exact (`statistic`), so near-ties fall the
same way at every shift; exact ties are broken by the image itself (`torus_hash`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equiaudit.sampling.statistic import channel_energy, component_sums, quantise
from equiaudit.sampling.torus_hash import torus_hash

_NEVER = -(2**62)


def tie_break_table(views: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Sum the view hashes (B, H, W) over each input grid of `stride`: (B, sh, sw), int64.

    Two candidate grids whose sums agree see the same image, up to a collision of hashes.
    """
    return component_sums(views.long(), size, stride)


def pick_candidate(energy: Tensor, ties: Tensor, candidates: int) -> Tensor:
    """The best of `candidates` by energy, then by hash: flat indices (B,), int64.

    `energy` (B, sh, sw) is exact (whole numbers), negative where a candidate is not allowed;
    `ties` (B, sh, sw) int64. What is still tied looks the same from every choice.
    """
    energy = energy.reshape(-1, candidates)
    best = energy == torch.amax(energy, [1], keepdim=True)
    return torch.argmax(torch.where(best, ties.reshape(-1, candidates), _NEVER), 1)


class OriginSelector(nn.Module):
    """The origin (B, 2) in {0..sh-1} x {0..sw-1} of each sample, int64 (MASS, section 4.1).

    `x` (B, C, H, W) is the map to be sampled, H and W divisible by the stride. Ties are broken by
    the hash of `image` at the same size, by default `x` itself. Per sample and over all channels:
    one origin per channel would put the channels on different grids. No gradient flows.
    """

    def __init__(self, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.stride = (stride, stride) if isinstance(stride, int) else stride

    @torch.no_grad()
    def forward(self, x: Tensor, image: Tensor | None = None) -> Tensor:
        """Choose; raises ValueError when the size is not divisible by the stride."""
        size, (sh, sw) = (x.shape[2], x.shape[3]), self.stride
        if size[0] % sh or size[1] % sw:
            raise ValueError(f"a {size[0]}x{size[1]} map has no whole grids of stride {sh}x{sw}")
        seen = x if image is None else image
        views = torus_hash(seen, seen.shape[1], (seen.shape[2], seen.shape[3]))
        energy = component_sums(quantise(channel_energy(x, (x.shape[1], *size))), size, self.stride)
        flat = pick_candidate(energy, tie_break_table(views, size, self.stride), sh * sw)
        return torch.stack([flat // sw, flat % sw], 1)
