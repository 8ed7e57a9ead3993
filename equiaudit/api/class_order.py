"""Which reading of ambiguous labels is the model's: the one by which it is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equiaudit.errors import InputError

if TYPE_CHECKING:
    import torch

    from equiaudit.data import Dataset, Doubt
    from equiaudit.models import Model

_LOOKED_AT = 256
"""Images that are asked; enough to tell readings apart that differ in a tenth of them."""
_P = 0.01
_BATCH = 8


def settled_labels(model: Model, dataset: Dataset) -> Dataset:
    """`dataset` with its labels in the reading by which `model` is right, and a note that says so.

    The model sees up to 256 unshifted images on which the readings differ. A reading is taken
    when the model is right by it more often than by chance, and more often than by each other
    reading (one-sided binomial tests at 1%, the latter over the images on which just one of the
    two is right). InputError where none is, and the labels do not say of themselves.
    """
    doubt = dataset.doubt
    if doubt is None:
        return dataset
    places = _telling(dataset, doubt)
    answers = _answers(model, dataset, places)
    right = np.stack([labels[places] == answers for labels in doubt.labels])
    best = _clearly_best(right, 2 if model.num_classes == 1 else model.num_classes or 2)
    said = _said(doubt, right)
    if doubt.settled and not best:
        return dataset.read_as(0, f"The {doubt.source} are read by {doubt.meanings[0].said}.")
    if best is not None:
        return dataset.read_as(
            best, f"The {doubt.source} are read by {doubt.meanings[best].said}: {said}."
        )
    raise InputError(
        f"The {doubt.source} can be read in {len(doubt.meanings)} ways, and the model does not"
        f" tell which is its own (it is {said}).",
        tip=_tip(doubt),
    )


def _telling(dataset: Dataset, doubt: Doubt) -> NDArray[np.int64]:
    """Places in the dataset where readings differ; drawn where there are many."""
    labels = np.stack(doubt.labels)
    found = np.flatnonzero((labels != labels[0]).any(axis=0))
    if len(found) <= _LOOKED_AT:
        return found
    return np.sort(np.random.default_rng(len(found)).choice(found, _LOOKED_AT, replace=False))


def _answers(model: Model, dataset: Dataset, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the model's labels, -1 for images that cannot be read and outputs that are not finite.

    Call by call of one size, as on the CPU the last bits of outputs depend on it.
    """
    import torch

    from equiaudit.models.outputs import model_labels

    found = np.full(len(places), -1, np.int64)
    for rows, batch in _batches(model, dataset, places):
        with torch.inference_mode():
            outputs = model.run(batch).float()
        labels = model_labels(model, outputs).reshape(-1).long()
        labels = torch.where(outputs.isfinite().all(1), labels, -1)
        found[rows] = labels.cpu().numpy()
    return found


def _batches(
    model: Model, dataset: Dataset, places: NDArray[np.int64]
) -> Iterator[tuple[list[int], torch.Tensor]]:
    import torch

    from equiaudit.audit.geometry import geometry
    from equiaudit.data import Decoded, decode_ahead
    from equiaudit.models.pixels import normalise

    rows: list[int] = []
    block: list[torch.Tensor] = []
    items = (dataset.items[int(place)] for place in places)
    wanted = geometry(model.preprocess, 0)
    for row, image in enumerate(decode_ahead(items, wanted, workers=2, ahead=_BATCH)):
        if isinstance(image, Decoded):
            rows.append(row)
            block.append(normalise(image.pixels[None], model.preprocess, model.device)[0])
        if len(block) == _BATCH:
            yield rows, torch.stack(block)
            rows, block = [], []
    if block:
        yield rows, torch.stack(block)


def _clearly_best(right: NDArray[np.bool_], classes: int) -> int | None:
    """The reading (of k; right is (k, n)) that is better than chance and than every other."""
    from scipy.stats import binomtest

    best = int(right.sum(axis=1).argmax())
    n, hits = right.shape[1], int(right[best].sum())
    if not n or binomtest(hits, n, 1 / classes, alternative="greater").pvalue >= _P:
        return None
    for other in range(len(right)):
        ahead = int((right[best] & ~right[other]).sum())
        behind = int((right[other] & ~right[best]).sum())
        if other == best:
            continue
        if not ahead + behind:
            return None
        if binomtest(ahead, ahead + behind, 0.5, alternative="greater").pvalue >= _P:
            return None
    return best


def _said(doubt: Doubt, right: NDArray[np.bool_]) -> str:
    """How often the model is right by each reading."""
    each = [
        f"{int(own.sum())} by {meaning.said}"
        for meaning, own in zip(doubt.meanings, right, strict=True)
    ]
    return f"right on {', '.join(each)}, of {right.shape[1]} images"


def _tip(doubt: Doubt) -> str:
    orders = list(dict.fromkeys(meaning.order for meaning in doubt.meanings))
    if len(orders) > 1:
        return f"Say it with --class-order {'|'.join(orders)}, or give --labels FILE.csv."
    return "Give class indices counted from 0 with --labels FILE.csv, or --class-names FILE."
