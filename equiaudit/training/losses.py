"""What a net in training is held to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equiaudit.data import IGNORED

__all__ = ["divergence", "feature_error", "image_means", "label_error", "regression_error"]


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of softmax over axis 1 at a temperature, times its square.

    Logits (N, K) or (N, K, H, W); the mean over all but the class axis. With one channel the
    classes are "yes" and "no" of a sigmoid. Hinton, Vinyals & Dean 2015, section 2.
    """
    student, teacher = (_two_or_more(z) / temperature for z in (student, teacher))
    log_p, log_q = F.log_softmax(teacher.float(), 1), F.log_softmax(student.float(), 1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean() * temperature**2


def feature_error(student: Tensor, teacher: Tensor, scale: Tensor) -> Tensor:
    """Mean squared difference of per-channel means over the image, over `scale` (a variance).

    Features are (N, C) or (N, C, H, W); their means over the image do not depend on which
    grid a map was sampled on, which differs between the two nets.
    """
    difference = image_means(student).float() - image_means(teacher).float()
    return difference.square().mean() / scale


def image_means(x: Tensor) -> Tensor:
    """(N, C, ...) -> (N, C)."""
    return x if x.dim() <= 2 else x.flatten(2).mean(2)


def regression_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two outputs of any one shape."""
    return F.mse_loss(student.float(), teacher.float())


def label_error(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits (N, K) with labels (N,), or (N, K, H, W) with masks (N, H, W).

    Mask pixels of `IGNORED` do not count. One channel means a binary mask: 0, or anything else.
    """
    logits = logits.float()
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, target, ignore_index=IGNORED)
    known = target != IGNORED
    wanted = (target > 0).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits[:, 0][known], wanted[known])


def _two_or_more(logits: Tensor) -> Tensor:
    return logits if logits.shape[1] > 1 else torch.cat([logits, torch.zeros_like(logits)], 1)
