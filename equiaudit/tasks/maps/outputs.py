"""What a dense output is: its size against the window, labels, colours of classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from equiaudit.errors import InputError, RunError
from equiaudit.models.types import Model

LABELS = 256
"""Classes that a map of labels may have where nothing says how many there are."""
Upsampling = tuple[int, int]
"""How often smaller than the window the output is, along rows and columns."""


def upsampling_of(model: Model, output: Tensor) -> Upsampling:
    """How `output` relates to the window; InputError where it does not cover it evenly."""
    window, found = model.preprocess.size, tuple(output.shape[2:])
    factors = [side // own for side, own in zip(window, found, strict=True)]
    if any(own * f != side for side, own, f in zip(window, found, factors, strict=True)):
        raise InputError(
            f"{model.name} returns {found[0]}x{found[1]} for a window of "
            f"{window[0]}x{window[1]}, which is neither its size nor a whole fraction of it, so "
            "where an output pixel lies in the image is not known.",
            tip="Give a --size that the model's stride divides, or --output-name another output.",
        )
    return factors[0], factors[1]


def labels_of(outputs: Tensor, factor: Upsampling, probabilities: bool) -> Tensor:
    """Scores (n, C, h, w) -> labels (n, H, W), uint8 or int16, as a user of the model gets them.

    Scores are upsampled first, bilinearly with align_corners=False. A single channel is the
    score of class 1: above 0, or above 0.5 where it is a probability.
    """
    if factor != (1, 1):
        size = [side * f for side, f in zip(outputs.shape[2:], factor, strict=True)]
        outputs = interpolate(outputs, size=size, mode="bilinear", align_corners=False)
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > (0.5 if probabilities else 0.0)).to(torch.uint8)
    return _largest(outputs)


def labels_by(model: Model, outputs: Tensor, factor: Upsampling) -> Tensor:
    """The same of outputs of `model`, which may be the labels (n, 1, h, w): those are repeated.

    RunError for a label that is not below the model's number of classes.
    """
    if not model.outputs_labels:
        return labels_of(outputs, factor, model.outputs_probabilities)
    ids = outputs[:, 0]
    least, most = float(ids.min()), float(ids.max())
    count = model.num_classes or LABELS
    if not 0 <= least <= most < count:
        raise RunError(
            f"{model.name} returns the label {least if least < 0 else most:g}, and its {count}"
            f" classes are 0 to {count - 1}.",
            tip="Name its classes with --classes FILE.",
        )
    for axis, times in enumerate(factor, start=1):
        ids = ids.repeat_interleave(times, axis)
    return ids.to(torch.uint8 if count <= 256 else torch.int16)


def _largest(scores: Tensor) -> Tensor:
    """(n, C, H, W) -> (n, H, W) the first class with the largest score.

    On the CPU several times as fast as argmax along a strided axis, and eight times as small.
    """
    best = scores[:, 0].clone()
    labels = torch.zeros_like(best, dtype=torch.uint8 if scores.shape[1] <= 256 else torch.int16)
    for label in range(1, scores.shape[1]):
        own = scores[:, label]
        labels.masked_fill_(own > best, label)
        torch.maximum(best, own, out=best)
    return labels
