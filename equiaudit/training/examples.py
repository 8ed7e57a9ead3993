"""The images a net is trained on: pixels in memory, with labels or masks where there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from equiaudit.data import Dataset, Decoded, Geometry, decode_ahead
from equiaudit.errors import InputError
from equiaudit.models.types import Preprocess
from equiaudit.results import Skipped
from equiaudit.shifts.canvas import normalise

__all__ = ["Examples", "load_examples"]

_MOST_BYTES = 8 << 30


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and what is known of them.

    `pixels` is (N, H, W, C) uint8 or uint16, RGB or grey, as decoded. `targets` is (N,) int64
    labels, (N, H, W) masks of class ids, `equiaudit.data.IGNORED` where nothing is said, or
    None. `preprocess` makes pixels model input.
    """

    pixels: np.ndarray
    preprocess: Preprocess
    targets: Tensor | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def inputs(self, index: np.ndarray, device: torch.device) -> Tensor:
        """(n, C, H, W) as the model receives them, on `device`."""
        return normalise(self.pixels[index], self.preprocess, device)

    def batches(self, size: int, device: torch.device) -> Iterator[Tensor]:
        """All of them in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.inputs(np.arange(start, min(start + size, len(self))), device)

    def targets_of(self, index: np.ndarray, device: torch.device) -> Tensor:
        """Labels (n,) or masks (n, H, W), int64. InputError where there are none."""
        if self.targets is None:
            raise InputError(
                "--finetune needs labels or masks, and these images have none.",
                tip="Use --distil, which needs none, or sort the images into class folders.",
            )
        return self.targets[torch.from_numpy(index)].to(device).long()

    def split(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """A training part and a held-out part of about `share`, drawn by `seed`."""
        order = np.random.default_rng([seed, 1]).permutation(len(self))
        held = min(round(share * len(self)), len(self) - 1)
        return self._part(np.sort(order[held:])), self._part(np.sort(order[:held]))

    def digest(self) -> str:
        """SHA-256 of pixels and targets."""
        digest = hashlib.sha256(self.pixels.tobytes())
        if self.targets is not None:
            digest.update(self.targets.numpy().tobytes())
        return digest.hexdigest()

    def _part(self, index: np.ndarray) -> Examples:
        targets = None if self.targets is None else self.targets[torch.from_numpy(index)]
        return replace(self, pixels=self.pixels[index], targets=targets)


def load_examples(
    dataset: Dataset, geometry: Geometry, how: Preprocess, *, workers: int = 2
) -> Examples:
    """Decode all of `dataset` into memory, with its labels or masks where it has any.

    A file that cannot be read is left out and named in `skipped`. InputError where none can
    be read, or where the images would take more than 8 GiB.
    """
    height, width = geometry.needed
    channels = 1 if geometry.gray else 3
    if len(dataset) * height * width * channels > _MOST_BYTES:
        raise InputError(
            f"{len(dataset)} images of {height}x{width} px do not fit in 8 GiB.",
            tip="Train on fewer of them, with --train-limit N.",
        )
    ahead, truth = 4 * workers, dataset.truth
    found = list(decode_ahead(dataset.items, geometry, truth, workers=workers, ahead=ahead))
    read = [image for image in found if isinstance(image, Decoded)]
    skipped = tuple(image for image in found if isinstance(image, Skipped))
    if not read:
        raise InputError(f"None of the images in {dataset.root} can be read.")
    deep = any(image.pixels.dtype == np.uint16 for image in read)
    pixels = np.stack([_as_deep(image.pixels) if deep else image.pixels for image in read])
    return Examples(pixels, how, _targets(read), skipped)


def _targets(images: Sequence[Decoded]) -> Tensor | None:
    """Labels, masks, or nothing; the pixels of target images are no class ids."""
    if all(image.item.label is not None for image in images):
        return torch.tensor([image.item.label for image in images])
    masks = [image.truth.values for image in images if image.truth is not None]
    if len(masks) < len(images) or any(mask.ndim != 2 for mask in masks):
        return None
    return torch.from_numpy(np.stack(masks))


def _as_deep(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * 257
