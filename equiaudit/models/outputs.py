"""One of the tensors that a model returns, as its task's output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from equiaudit.errors import RunError
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.types import Layout, Model
from equiaudit.tasks import TASKS


@dataclass(frozen=True)
class OutputChoice:
    """The output taken and how it is read."""

    name: str
    """"" where the model returns one tensor."""
    place: int
    task: str
    rank: int | None = None
    """Axes that every batch's output has to have; None for any."""
    layout: Layout = "NCHW"
    """Of a map as the model returns it."""
    labels: bool = False
    """Ids of classes in place of scores; of several per image the first counts."""
    classes: int | None = None
    """How many there are, where labels or boxes are returned and something tells."""
    notes: tuple[str, ...] = ()
    """How it is read and why, in words."""
    doubt: str = ""
    """What else it may be, where it was taken all the same."""
    read: Callable[[Any, int], Tensor] | None = None
    """Makes it of all that is returned, where it is more than one tensor."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """Of a detector: how that is done, `detectors.Declaration.plain`."""
    points: int = 0
    """Key points of each of its objects."""
    masks: bool = False
    """Its objects have masks."""


def take_output(choice: OutputChoice, *, what: str) -> Callable[[Any, int], Tensor]:
    """A function (returned, batch) -> the chosen output as float32, in the shape of its task.

    Labels come as (N, 1) and (N, 1, H, W). It raises RunError where a batch's output is not
    what the first one was.
    """
    if choice.read is not None:
        return choice.read
    task = TASKS[choice.task]

    def take(returned: Any, batch: int) -> Tensor:
        tensors = [tensor for _, tensor in named_tensors(returned)]
        tensor = tensors[choice.place] if choice.place < len(tensors) else None
        if tensor is None or not _is_like(choice, tensor, batch):
            shape = "nothing" if tensor is None else tuple(tensor.shape)
            raise RunError(f"{what} returned {shape} for a batch of {batch} images.")
        return task.taken((_map if task.maps else _numbers)(choice, tensor)).float()

    return take


def _is_like(choice: OutputChoice, tensor: Tensor, batch: int) -> bool:
    return choice.rank in (None, tensor.dim()) and tensor.dim() > 0 and len(tensor) == batch


def _numbers(choice: OutputChoice, tensor: Tensor) -> Tensor:
    rows = tensor if tensor.dim() > 1 else tensor[:, None]
    if rows.dim() == 4 and rows.shape[1:3] == (1, 1):
        rows = rows.flatten(1)
    return rows[:, :1] if choice.labels else rows


def _map(choice: OutputChoice, tensor: Tensor) -> Tensor:
    if tensor.dim() == 3:
        return tensor[:, None]
    return tensor.permute(0, 3, 1, 2).contiguous() if choice.layout == "NHWC" else tensor


@dataclass(frozen=True)
class Decisions:
    """Yes where a probability is above the threshold: of each class, or of the second of two.

    Logits are held against the logit of the threshold, ln(t / (1 - t)): no rounding of a sigmoid
    has a say.
    """

    threshold: float = 0.5
    probabilities: bool = False
    """Outputs are probabilities, not logits."""
    each: bool = False

    @property
    def limit(self) -> float:
        """What a score is above where the answer is yes."""
        t = self.threshold
        return t if self.probabilities else math.log(t / (1 - t))

    def scores(self, output: Tensor) -> Tensor:
        """(N, C) -> (N, C) of each class; else (N,), of two logits their difference."""
        if self.each:
            return output
        if output.shape[1] == 1 or self.probabilities:
            return output[:, -1]
        return output[:, 1] - output[:, 0]

    def __call__(self, output: Tensor) -> Tensor:
        """The answers, bool in the shape of `scores`."""
        return self.scores(output).double() > self.limit


def decisions_of(model: Model) -> Decisions | None:
    """How `model` decides; None where its task reads no threshold."""
    return _decisions(model.task, model.outputs_probabilities, model.threshold)


def _decisions(task: str, probabilities: bool, threshold: float | None) -> Decisions | None:
    how = TASKS[task].decides
    share = 0.5 if threshold is None else threshold
    return Decisions(share, probabilities, how == "each") if how else None


def labels_of(
    output: Tensor, *, probabilities: bool, task: str, threshold: float | None = None
) -> Tensor:
    """The label of every image or pixel: the largest along axis 1, or whether a single one is
    above 0, or above 0.5 where it is a probability; decisions where `task` decides."""
    if decide := _decisions(task, probabilities, threshold):
        return decide(output)
    if output.shape[1] > 1:
        return output.argmax(1)
    return output[:, 0] > (0.5 if probabilities else 0.0)


def model_labels(model: Model, output: Tensor) -> Tensor:
    """The labels in an output (N, ...) of `model`, as a scan reads them."""
    if model.outputs_labels:
        return output
    how = model.outputs_probabilities
    return labels_of(output, probabilities=how, task=model.task, threshold=model.threshold)


def spread_of(output: Tensor) -> float:
    """The range of an output (N, ...), which errors are measured by, as float32 can tell it.

    Where it is one number per image its size counts too: how far images differ says nothing
    about how exactly one of them can be computed.
    """
    spread = float(output.max() - output.min())
    if output[0].numel() == 1:
        spread = max(spread, float(output.abs().max()))
    return max(spread, torch.finfo(torch.float32).tiny)


def sums_to_one(output: Tensor) -> bool:
    """Whether the scores along axis 1 are probabilities: in [0, 1], summing to 1 (1e-2)."""
    if output.shape[1] < 2 or not torch.isfinite(output).all():
        return False
    in_range = bool((output >= -1e-4).all()) and bool((output <= 1 + 1e-2).all())
    total = output.sum(dim=1)
    return in_range and torch.allclose(total, torch.ones_like(total), atol=1e-2, rtol=0)


def is_share(output: Tensor) -> bool:
    """Whether every single score lies in [0, 1], as behind a sigmoid."""
    return bool(((output >= 0) & (output <= 1)).all())
