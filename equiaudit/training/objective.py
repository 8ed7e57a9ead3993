"""What each stage minimises, and how well a net does on the held-out part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, fx

from equiaudit.metrics.intervals import proportion_interval
from equiaudit.results import Estimate
from equiaudit.training.augment import Augmentation, mixed
from equiaudit.training.examples import Examples
from equiaudit.training.losses import (
    divergence,
    feature_error,
    label_error,
    regression_error,
)
from equiaudit.training.options import TrainingOptions
from equiaudit.training.student import with_features

__all__ = ["Distillation", "Labels", "Objective", "Output", "accuracy"]

Output = Literal["logits", "probabilities", "values"]
Forward = Callable[[Tensor], tuple[Tensor, Tensor]]

_PROBED = 512
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Objective(ABC):
    """A loss over batches of examples. Nets return (output, features)."""

    options: TrainingOptions
    output: Output
    device: torch.device

    @abstractmethod
    def training_loss(
        self, net: Forward, examples: Examples, index: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """On augmented images."""

    def training_inputs(
        self, examples: Examples, index: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """Images as training sees them, (n, C, H, W)."""
        return self._moves(examples)(examples.inputs(index, self.device), rng)[0]

    def judging_loss(self, net: Forward, examples: Examples, index: np.ndarray) -> Tensor:
        """On held-out images, for choosing an epoch."""
        return self.plain_loss(net, examples, index)

    @abstractmethod
    def plain_loss(self, net: Forward, examples: Examples, index: np.ndarray) -> Tensor:
        """On the images as they are."""

    def _moves(self, examples: Examples) -> Augmentation:
        options, shorter = self.options, min(examples.pixels.shape[1:3])
        crop = shorter // 8 if options.crop is None else min(options.crop, shorter - 1)
        return Augmentation(crop, options.flip, options.roll)

    def _logits(self, output: Tensor) -> Tensor:
        return output.clamp_min(_SMALLEST).log() if self.output == "probabilities" else output


@dataclass(frozen=True)
class Distillation(Objective):
    """Imitate the original: its outputs at a temperature, and its last features."""

    teacher: fx.GraphModule
    scale: Tensor
    """Variance of the teacher's features (and outputs, where they are values): two scalars."""

    @staticmethod
    def of(
        original: fx.GraphModule,
        examples: Examples,
        options: TrainingOptions,
        output: Output,
        device: torch.device,
    ) -> Distillation:
        """With scales measured on a part of the examples."""
        teacher = with_features(original).eval()
        probed = np.linspace(0, len(examples) - 1, min(_PROBED, len(examples))).astype(int)
        with torch.no_grad():
            values, features = teacher(examples.inputs(probed, device))
            scales = [_channel_variance(features), values.float().var()]
        scale = torch.stack([s.float() for s in scales]).nan_to_num(1.0).clamp_min(_SMALLEST)
        return Distillation(options, output, device, teacher, scale)

    def training_loss(
        self, net: Forward, examples: Examples, index: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """On moved and mixed images, the teacher seeing the same."""
        return self._loss(net, self.training_inputs(examples, index, rng))

    def training_inputs(
        self, examples: Examples, index: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """Moved and mixed images."""
        moved = super().training_inputs(examples, index, rng)
        return mixed(moved, self.options.mixup, rng)

    def judging_loss(self, net: Forward, examples: Examples, index: np.ndarray) -> Tensor:
        """On moved and mixed images, always the same ones.

        The original learned such images by heart; on images as they are its answers hardly
        differ, and what a better imitation would be does not show.
        """
        rng = np.random.default_rng([self.options.seed, len(index)])
        return self.training_loss(net, examples, index, rng)

    def plain_loss(self, net: Forward, examples: Examples, index: np.ndarray) -> Tensor:
        """On the images as they are."""
        return self._loss(net, examples.inputs(index, self.device))

    def _loss(self, net: Forward, x: Tensor) -> Tensor:
        with torch.no_grad():
            wanted, wanted_features = self.teacher(x)
        found, features = net(x)
        if self.output == "values":
            error = regression_error(found, wanted) / self.scale[1]
        else:
            pair = self._logits(found), self._logits(wanted)
            error = divergence(*pair, self.options.temperature)
        if not self.options.features or features.shape[1] != wanted_features.shape[1]:
            return error
        distance = feature_error(features, wanted_features, self.scale[0])
        return error + self.options.features * distance


def _channel_variance(features: Tensor) -> Tensor:
    """Of the values of each channel over images and positions, the mean over channels."""
    return features.float().transpose(0, 1).flatten(1).var(1).mean()


@dataclass(frozen=True)
class Labels(Objective):
    """Labels (N,) or masks (N, H, W)."""

    def training_loss(
        self, net: Forward, examples: Examples, index: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """On moved images; a mask moves along."""
        x, target = examples.inputs(index, self.device), examples.targets_of(index, self.device)
        is_mask = target.dim() == 3
        x, moved = self._moves(examples)(x, rng, target if is_mask else None)
        return label_error(self._logits(net(x)[0]), target if moved is None else moved)

    def plain_loss(self, net: Forward, examples: Examples, index: np.ndarray) -> Tensor:
        """On the images as they are."""
        x, target = examples.inputs(index, self.device), examples.targets_of(index, self.device)
        return label_error(self._logits(net(x)[0]), target)


def accuracy(net: Forward, examples: Examples, device: torch.device, size: int) -> Estimate | None:
    """Share of labelled images that are right, with its interval; None without labels."""
    if examples.targets is None or examples.targets.dim() != 1 or not len(examples):
        return None
    with torch.no_grad():
        found = torch.cat([net(x)[0].argmax(1).cpu() for x in examples.batches(size, device)])
    return proportion_interval(int((found == examples.targets).sum()), len(examples))
