"""What a net in training is held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from equiaudit.data import IGNORED
from equiaudit.errors import InputError

if TYPE_CHECKING:
    from equiaudit.training.options import TrainingOptions

_SMALLEST = 1e-12


class Losses(Protocol):
    """What recovery minimises, by what outputs mean; `asked` (N, H, W) is given of maps alone."""

    def prepared(self, output: Tensor) -> Tensor:
        """What is compared, and enlarged to the window where it is a smaller map."""

    def distance(
        self,
        found: Tensor,
        wanted: Tensor,
        options: TrainingOptions,
        spread: Tensor,
        asked: Tensor | None = None,
    ) -> Tensor:
        """From the outputs of the original, whose variance is `spread`."""

    def error(self, found: Tensor, truth: Tensor, options: TrainingOptions) -> Tensor:
        """From labels (N,) or masks (N, H, W)."""


@dataclass(frozen=True)
class ScoreLosses:
    """Of scores of classes, per image or per pixel; `probabilities` are behind a softmax."""

    probabilities: bool = False

    def prepared(self, output: Tensor) -> Tensor:
        """Logits."""
        return output.clamp_min(_SMALLEST).log() if self.probabilities else output

    def distance(
        self,
        found: Tensor,
        wanted: Tensor,
        options: TrainingOptions,
        spread: Tensor,
        asked: Tensor | None = None,
    ) -> Tensor:
        """Divergence, and of maps the overlap of the objects."""
        error = divergence(found, wanted, options.temperature, asked)
        if asked is None:
            return error
        return error + options.overlap * overlap_error(objects(found), objects(wanted), asked)

    def error(self, found: Tensor, truth: Tensor, options: TrainingOptions) -> Tensor:
        """Cross-entropy, and of masks the overlap of the objects."""
        error = label_error(found, truth)
        if truth.dim() == 1:
            return error
        return error + options.overlap * label_overlap_error(found, truth)


@dataclass(frozen=True)
class SetLosses:
    """Of scores of classes of which several may be right; `probabilities` are behind a sigmoid."""

    probabilities: bool = False

    def prepared(self, output: Tensor) -> Tensor:
        """Logits."""
        if not self.probabilities:
            return output
        return output.clamp(_SMALLEST, 1 - torch.finfo(output.dtype).eps).logit()

    def distance(
        self,
        found: Tensor,
        wanted: Tensor,
        options: TrainingOptions,
        spread: Tensor,
        asked: Tensor | None = None,
    ) -> Tensor:
        """Divergence of the yes and no of each class, summed over them."""
        yes = [each.flatten()[:, None] for each in (found, wanted)]
        return divergence(yes[0], yes[1], options.temperature) * found.shape[1]

    def error(self, found: Tensor, truth: Tensor, options: TrainingOptions) -> Tensor:
        """InputError: examples hold one label each."""
        raise InputError(
            "finetune takes one label per image, and the model returns several.",
            tip="Use --distil.",
        )


@dataclass(frozen=True)
class ValueLosses:
    """Of values, such as those of pixels; recovery knows no truth of them."""

    def prepared(self, output: Tensor) -> Tensor:
        """As they are."""
        return output

    def distance(
        self,
        found: Tensor,
        wanted: Tensor,
        options: TrainingOptions,
        spread: Tensor,
        asked: Tensor | None = None,
    ) -> Tensor:
        """The squared difference over the spread."""
        return regression_error(found, wanted, asked) / spread

    def error(self, found: Tensor, truth: Tensor, options: TrainingOptions) -> Tensor:
        """InputError: there is none."""
        raise InputError(
            "finetune needs labels or masks, and values have neither.", tip="Use --distil."
        )


def divergence(
    student: Tensor, teacher: Tensor, temperature: float, asked: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) of softmax over axis 1 at a temperature, times its square.

    Logits (N, K) or (N, K, H, W); the mean over all but the class axis, of maps over the pixels
    where `asked` (N, H, W) holds. With one channel the classes are "yes" and "no" of a sigmoid.
    Hinton, Vinyals & Dean 2015, section 2.
    """
    student, teacher = (_two_or_more(z) / temperature for z in (student, teacher))
    log_p, log_q = F.log_softmax(teacher.float(), 1), F.log_softmax(student.float(), 1)
    return _mean((log_p.exp() * (log_p - log_q)).sum(1), asked) * temperature**2


def overlap_error(found: Tensor, wanted: Tensor, asked: Tensor | None = None) -> Tensor:
    """One less the soft Dice coefficient of each object class, summed over the wanted classes.

    Probabilities (N, K, H, W) of the classes that are not background; the coefficient of a class,
    2 <p, q> / (<p, p> + <q, q>) with 1 added above and below, pools the pixels of the batch where
    `asked` (N, H, W) holds, as a mean IoU does, so a class of few pixels counts as much as a
    large one. It is divided by the number of classes of at least a pixel in `wanted`, where there
    are any. Milletari, Navab & Ahmadi 2016, eq. 1.
    """
    if asked is not None:
        found, wanted = found * asked[:, None], wanted * asked[:, None]
    common, mine, theirs = (
        (a * b).sum((0, 2, 3)) for a, b in ((found, wanted), (found, found), (wanted, wanted))
    )
    missed = 1 - (2 * common + 1) / (mine + theirs + 1)
    return missed.sum() / (theirs >= 1).sum().clamp_min(1)


def objects(logits: Tensor) -> Tensor:
    """Probabilities (N, K, H, W) of the classes that are not background, from logits.

    Of one channel that is its sigmoid, of more the softmax without class 0.
    """
    logits = logits.float()
    return logits.softmax(1)[:, 1:] if logits.shape[1] > 1 else logits.sigmoid()


def label_overlap_error(logits: Tensor, target: Tensor) -> Tensor:
    """`overlap_error` of logits (N, K, H, W) with masks (N, H, W); `IGNORED` does not count."""
    found = objects(logits)
    classes = torch.arange(1, found.shape[1] + 1, device=target.device).view(1, -1, 1, 1)
    wanted = (target[:, None] == classes) if logits.shape[1] > 1 else (target > 0)[:, None]
    return overlap_error(found, wanted.to(found.dtype), target != IGNORED)


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


def regression_error(student: Tensor, teacher: Tensor, asked: Tensor | None = None) -> Tensor:
    """Mean squared difference of two outputs of any one shape; of maps where `asked` holds."""
    squares = (student.float() - teacher.float()).square()
    return squares.mean() if asked is None else _mean(squares.mean(1), asked)


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


def _mean(values: Tensor, asked: Tensor | None) -> Tensor:
    """Of those asked for; 0 where none is."""
    if asked is None:
        return values.mean()
    return (values * asked).sum() / asked.sum().clamp_min(1)


def _two_or_more(logits: Tensor) -> Tensor:
    return logits if logits.shape[1] > 1 else torch.cat([logits, torch.zeros_like(logits)], 1)
