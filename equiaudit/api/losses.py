"""What a repair costs on unshifted images: both models, image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from equiaudit.results import Estimate
from equiaudit.results.loss import Loss
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from equiaudit.data import Dataset
    from equiaudit.metrics.forecast import Bounds
    from equiaudit.models import Model

ALLOWED = 0.01
"""Accuracy that a repair may lose, unless said."""
_BATCH = 8
_MOST = 256
"""Images that are compared pixel by pixel where there are no masks."""

Records = Sequence[Any]
"""The readable records of one scan, in the order of the images."""


def loss_between(
    task: str,
    before: Records,
    after: Records,
    *,
    labelled: bool,
    pixels: Callable[[], Estimate | None],
    allowed: float,
    seed: int,
) -> Loss | None:
    """What the second of two scans of the same images lost against the first.

    `pixels` says which share of pixels changes its label, and is asked where there are no masks.
    A loss of more than `allowed` is judged where labels or masks say what is right. None where
    outputs are images.
    """
    pairs, kind = _pairs(before, after), TASKS[task]
    if not kind.scores:
        return None
    if not kind.maps:
        if not pairs:
            return None
        if not kind.exclusive:
            return _sets(pairs, allowed, seed)
        return _labels(pairs, allowed) if labelled else _changed(pairs)
    if labelled and pairs:
        return _iou(pairs, allowed, seed)
    share = pixels()
    return None if share is None else Loss(measure="pixels", lost=share, verdict="not judged")


def _judged(loss: Loss, allowed: float, law: Bounds | None) -> Loss:
    """`loss` against what is allowed."""
    from equiaudit.metrics.forecast import images_needed

    lost = loss.lost
    if lost.value is None:
        return loss
    verdict = _verdict(lost.value, lost, allowed)
    needed = images_needed(lost, allowed, law) if verdict == "cannot tell" else None
    update = {"allowed": allowed, "verdict": verdict, "images_needed": needed}
    return loss.model_copy(update=update)


def _verdict(
    value: float, lost: Estimate, allowed: float
) -> Literal["kept", "lost", "cannot tell"]:
    if lost.low is None or lost.high is None:
        return "kept" if value <= allowed else "lost"
    if lost.high <= allowed:
        return "kept"
    return "lost" if value > allowed and lost.low > 0 else "cannot tell"


def changed_pixels(before: Model, after: Model, dataset: Dataset) -> Estimate | None:
    """The share of pixels whose label differs between two segmenters, images as the unit.

    None where their inputs differ in size, or no image can be read.
    """
    import torch

    from equiaudit.api.room import sources
    from equiaudit.metrics.flips import flip_interval

    if before.preprocess.size != after.preprocess.size:
        return None
    changes: list[float] = []
    for batch in sources(dataset, before.preprocess, 0, _BATCH):
        with torch.inference_mode():
            first, second = (
                _classes(model.run(batch.to(model.device)), model.outputs_probabilities)
                for model in (before, after)
            )
        changes += (first != second).flatten(1).float().mean(1).tolist()
        if len(changes) >= _MOST:
            break
    return flip_interval(changes) if changes else None


def _classes(outputs: Tensor, probabilities: bool) -> Tensor:
    """Scores (N, C, h, w) -> (N, h, w); a single channel is that of class 1."""
    if outputs.shape[1] == 1:
        return outputs[:, 0] > (0.5 if probabilities else 0.0)
    return outputs.argmax(1)


def _pairs(before: Records, after: Records) -> list[tuple[Any, Any]]:
    """Both records of every image that both models have answered."""
    later = {record.index: record for record in after if _answered(record)}
    return [(r, later[r.index]) for r in before if r.index in later and _answered(r)]


def _answered(record: Any) -> bool:
    return record.unreadable is None and getattr(record, "finite", True)


def _labels(pairs: list[tuple[Any, Any]], allowed: float) -> Loss | None:
    from equiaudit.metrics.intervals import proportion_interval
    from equiaudit.metrics.paired import PairedLaw, paired_difference

    known = [(a, b) for a, b in pairs if a.label is not None]
    if not known:
        return None
    right, still = (
        [float(one.clean == one.label) for one in each] for each in zip(*known, strict=True)
    )
    loss = Loss(
        measure="accuracy",
        before=proportion_interval(int(sum(right)), len(right)),
        after=proportion_interval(int(sum(still)), len(still)),
        lost=paired_difference(still, right),
        verdict="not judged",
    )
    return _judged(loss, allowed, PairedLaw.of(still, right).bounds)


def _changed(pairs: list[tuple[Any, Any]], measure: Literal["labels", "sets"] = "labels") -> Loss:
    from equiaudit.metrics.intervals import proportion_interval

    changed = sum(a.clean != b.clean for a, b in pairs)
    lost = proportion_interval(changed, len(pairs))
    return Loss(measure=measure, lost=lost, verdict="not judged")


def _sets(pairs: list[tuple[Any, Any]], allowed: float, seed: int) -> Loss:
    """The micro F1 where the true classes are known."""
    import numpy as np

    from equiaudit.metrics.dense import f1, iou_difference
    from equiaudit.metrics.multilabel import counts, f1_micro

    known = [(a, b, a.true()) for a, b in pairs if a.known is not None]
    if not known:
        return _changed(pairs, "sets")
    first, second = (
        counts(np.stack([each[i].decided() for each in known]), np.stack([t for *_, t in known]))
        for i in (0, 1)
    )
    pooled = [scores.sum(axis=1, keepdims=True) for scores in (second, first)]
    loss = Loss(
        measure="F1",
        before=f1_micro(first),
        after=f1_micro(second),
        lost=iou_difference(*pooled, seed=seed, ratio=f1),
        verdict="not judged",
    )
    return _judged(loss, allowed, None)


def _iou(pairs: list[tuple[Any, Any]], allowed: float, seed: int) -> Loss | None:
    from equiaudit.metrics.dense import iou_difference, iou_estimates

    masked = [(a, b) for a, b in pairs if a.unshifted and b.unshifted]
    if not masked:
        return None
    first, second = (_scores(column) for column in zip(*masked, strict=True))
    loss = Loss(
        measure="mIoU",
        before=iou_estimates(first, seed=seed)[0],
        after=iou_estimates(second, seed=seed)[0],
        lost=iou_difference(second, first, seed=seed),
        verdict="not judged",
    )
    return _judged(loss, allowed, None)


def _scores(records: Records) -> NDArray[np.float64]:
    """(n, C, 3)"""
    import numpy as np

    return np.array([record.unshifted for record in records], np.float64)
