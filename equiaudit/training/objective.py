"""What each stage minimises, and how well a net does on the held-out part."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx

from equiaudit.metrics.intervals import proportion_interval
from equiaudit.results import Estimate
from equiaudit.sampling.wrapping import gather_window
from equiaudit.training.augment import Mix
from equiaudit.training.examples import Examples
from equiaudit.training.losses import Losses, feature_error
from equiaudit.training.options import TrainingOptions
from equiaudit.training.student import with_features
from equiaudit.training.windows import Windows

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
Indices = NDArray[np.int64]
Rng = np.random.Generator
Loss = Callable[[Examples, Indices, Rng], Tensor]

_AT_A_TIME = 256
_PROBED = 512
_PROBED_MAPS = 32
_SMALLEST = 1e-12
_VIEWS = (2, 4)
"""Least and most windows per held-out photo."""
_ENOUGH = 128
"""Held-out windows that more than the least per photo are taken to reach."""


@dataclass(frozen=True)
class Objective(ABC):
    """A loss over windows of examples. Nets return (output, features).

    `dense` where the output is a map. Windows are drawn as `TrainingOptions.moves` says; those of
    the held-out part are always the same, the mean of several per photo.
    """

    options: TrainingOptions
    losses: Losses
    device: torch.device
    dense: bool

    @abstractmethod
    def training_loss(self, net: Forward, examples: Examples, index: Indices, rng: Rng) -> Tensor:
        """On windows of the photos `index` drawn by `rng`."""

    def training_inputs(self, examples: Examples, index: Indices, rng: Rng) -> Tensor:
        """Windows as training sees them, (n, C, H, W)."""
        return examples.inputs(self._windows(examples, index, rng).moved, self.device)

    def seen(self, examples: Examples, *, most: int | None = None) -> Iterator[Tensor]:
        """Windows as training sees them, of all photos or `most` of them, always the same ones.

        For batch statistics: a net that was trained on mixed images is normalised by those of
        such; the statistics of images as they are cost the distilled ResNet-20 1.4 points.
        """
        count = len(examples) if most is None else min(most, len(examples))
        rng = np.random.default_rng([self.options.seed, 2])
        for index in np.array_split(np.arange(count), max(1, count // _AT_A_TIME)):
            yield self.training_inputs(examples, index, rng)

    def judging_loss(self, net: Forward, examples: Examples, index: Indices) -> Tensor:
        """On held-out windows, for choosing an epoch."""
        return self._over_views(partial(self.training_loss, net), examples, index)

    def held_out_loss(self, net: Forward, examples: Examples, index: Indices) -> Tensor:
        """On held-out windows, for telling whether the stage helped."""
        return self.judging_loss(net, examples, index)

    def _over_views(self, loss: Loss, examples: Examples, index: Indices) -> Tensor:
        least, most = _VIEWS
        count = min(most, max(least, math.ceil(_ENOUGH / len(examples))))
        rngs = (np.random.default_rng([self.options.seed, 3, i, *index]) for i in range(count))
        return torch.stack([loss(examples, index, rng) for rng in rngs]).mean()

    def _windows(self, examples: Examples, index: Indices, rng: Rng) -> Windows:
        moves = self.options.moves(examples.preprocess.size, dense=self.dense)
        return examples.windows(index, moves, rng)

    def _compared(self, output: Tensor, window: tuple[int, ...]) -> Tensor:
        """Of maps at the size of the window, as a scan enlarges them."""
        found = self.losses.prepared(output)
        if not self.dense or found.shape[2:] == window:
            return found
        return F.interpolate(found, size=window, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Distillation(Objective):
    """Imitate the original: its outputs at a temperature, and its last features.

    The original sees each window before it is moved, and what it says of it moves along: what
    black at a border, or the other side of the torus, makes it say is not to be learned. Of maps
    nothing is asked where black entered, and features are not compared: the output says as much
    of every pixel.
    """

    teacher: fx.GraphModule
    scale: Tensor
    """Variance of the teacher's features (and outputs, where they are values): two scalars."""

    @staticmethod
    def of(
        original: fx.GraphModule,
        examples: Examples,
        options: TrainingOptions,
        losses: Losses,
        device: torch.device,
        *,
        dense: bool,
    ) -> Distillation:
        """With scales measured on a part of the examples."""
        teacher = with_features(original).eval()
        most = min(_PROBED_MAPS if dense else _PROBED, len(examples))
        probed = examples.part(np.linspace(0, len(examples) - 1, most).astype(int))
        with torch.no_grad():
            values, features = teacher(next(probed.batches(most, device)))
            scales = [_channel_variance(features), values.float().var()]
        scale = torch.stack([s.float() for s in scales]).nan_to_num(1.0).clamp_min(_SMALLEST)
        return Distillation(options, losses, device, dense, teacher, scale)

    def training_loss(self, net: Forward, examples: Examples, index: Indices, rng: Rng) -> Tensor:
        """The distance to the original, labels' windows mixed in pairs."""
        windows = self._windows(examples, index, rng)
        return self._distance(net, examples, windows, self._mix(len(index), rng))

    def training_inputs(self, examples: Examples, index: Indices, rng: Rng) -> Tensor:
        """Windows as training sees them."""
        windows = self._windows(examples, index, rng)
        return self._mix(len(index), rng).of(examples.inputs(windows.moved, self.device))

    def held_out_loss(self, net: Forward, examples: Examples, index: Indices) -> Tensor:
        """On windows that are not mixed.

        Epochs are chosen by mixed ones: the original learned its images by heart; on them alone
        its answers hardly differ, and what a better imitation would be does not show.
        """

        def loss(examples: Examples, index: Indices, rng: Rng) -> Tensor:
            windows = self._windows(examples, index, rng)
            return self._distance(net, examples, windows, Mix.draw(len(index), 0.0, rng))

        return self._over_views(loss, examples, index)

    def _mix(self, count: int, rng: Rng) -> Mix:
        return Mix.draw(count, 0.0 if self.dense else self.options.mixup, rng)

    def _distance(self, net: Forward, examples: Examples, windows: Windows, mix: Mix) -> Tensor:
        still, x = (
            mix.of(examples.inputs(pixels, self.device))
            for pixels in (windows.still, windows.moved)
        )
        with torch.no_grad():
            wanted, wanted_features = self.teacher(still)
        found, features = net(x)
        spread = self.scale[1]
        if not self.dense:
            found, wanted = (self._compared(y, ()) for y in (found, wanted))
            distance = self.losses.distance(found, wanted, self.options, spread)
            return distance + self._feature_distance(features, wanted_features)
        asked = torch.from_numpy(windows.asked).to(self.device)
        found, wanted = (self._compared(y, asked.shape[1:]) for y in (found, wanted))
        wanted = _moved_along(wanted, windows)
        return self.losses.distance(found, wanted, self.options, spread, asked)

    def _feature_distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        if not self.options.features or found.shape[1] != wanted.shape[1]:
            return found.new_zeros(())
        return self.options.features * feature_error(found, wanted, self.scale[0])


def _moved_along(y: Tensor, windows: Windows) -> Tensor:
    """A map (n, K, H, W) of the still windows, read where the moved ones are; 0 on black."""
    rows, columns = (torch.from_numpy(i).to(y.device) for i in (windows.rows, windows.columns))
    within = (rows >= 0)[:, None, :, None] & (columns >= 0)[:, None, None]
    _, channels, height, width = y.shape
    shape, size = (channels, height, width), (height, width)
    return gather_window(y, rows.clamp_min(0), columns.clamp_min(0), shape, size) * within


def _channel_variance(features: Tensor) -> Tensor:
    """Of the values of each channel over images and positions, the mean over channels."""
    return features.float().transpose(0, 1).flatten(1).var(1).mean()


@dataclass(frozen=True)
class Labels(Objective):
    """Labels (N,), or masks, which move along with their windows."""

    def training_loss(self, net: Forward, examples: Examples, index: Indices, rng: Rng) -> Tensor:
        """Cross-entropy, and of masks the overlap of the objects."""
        windows = self._windows(examples, index, rng)
        x = examples.inputs(windows.moved, self.device)
        found = self._compared(net(x)[0], x.shape[2:])
        if windows.masks is None:
            truth = examples.labels_of(index, self.device)
        else:
            truth = torch.from_numpy(windows.masks).to(self.device)
        return self.losses.error(found, truth, self.options)


def accuracy(net: Forward, examples: Examples, device: torch.device, size: int) -> Estimate | None:
    """Share of labelled images that are right, with its interval; None without labels."""
    if examples.labels is None or not len(examples):
        return None
    with torch.no_grad():
        found = torch.cat([net(x)[0].argmax(1).cpu() for x in examples.batches(size, device)])
    return proportion_interval(int((found == examples.labels).sum()), len(examples))
