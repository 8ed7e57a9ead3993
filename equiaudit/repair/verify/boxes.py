"""Verify a detector by its boxes: once moved back, those of a shifted image are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.detectors import MOST_BOXES, Declaration, decoder
from equiaudit.models.running import sample_of
from equiaudit.models.types import Model
from equiaudit.repair.outputs.declared import check_units, declaration_of
from equiaudit.repair.outputs.run import EveryRun, every_run
from equiaudit.repair.verify.engine import Run, Shift, Trial
from equiaudit.repair.verify.every_output import ROUNDINGS
from equiaudit.repair.verify.exactness import exact_arithmetic
from equiaudit.repair.verify.images import with_objects
from equiaudit.repair.verify.schedule import breaking_period, schedule
from equiaudit.results.repair import ShiftErrors, Verification

__all__ = ["verify_boxes"]

_CONTROL = 64
_CRITERION = (
    "the same boxes once moved back: as many, labels and scores bit-equal, coordinates equal but"
    " for the rounding of the shift that was added"
)
_NONE = "No box was found on any image, so nothing was compared."


def verify_boxes(
    model: Model,
    against: Model | None,
    images: Mapping[str, Tensor],
    *,
    comparisons: int,
    seed: int,
    until: float = inf,
) -> Verification:
    """Whether the boxes of `model` stay with their objects; `against` is the unmodified one.

    Every phase of the total stride counts, where that is known, else every shift. InputError
    where a model is no detector that is declared, or not in the units that it is declared in.
    """
    size = model.preprocess.size
    run, step = _boxes_of(model)
    check_units(against or model, with_objects(images))
    check = SameBoxes(size, model.total_stride or size, step)
    return check(
        run,
        None if against is None else _boxes_of(against)[0],
        images,
        device=str(model.device),
        comparisons=comparisons,
        seed=seed,
        subject=model.name,
        until=until,
    )


def _boxes_of(model: Model) -> tuple[Run, float]:
    """Its likeliest boxes, and the coarsest step of the types that they come in, as a share."""
    every = every_run(model, partial(sample_of, model.preprocess))
    how = declaration_of(model)
    if every is None or how is None:
        raise InputError(
            f"{model.name} is not read as a detector, and the model it is compared with is.",
            tip="Say --detector.",
        )
    run = _likeliest(every, how, model)
    return run, _step(every, sample_of(model.preprocess, every.batch).to(model.device))


def _likeliest(every: EveryRun, how: Declaration, model: Model) -> Run:
    """A batch -> boxes (N, K, 6) of any score, before suppression outside of the model.

    That asks how boxes overlap in the image, where those on either side of a border do not.
    """
    size = model.preprocess.size
    decode = decoder(replace(how, nms_iou=0.0, score_threshold=-inf), size, what=model.name)

    def run(batch: Tensor) -> Tensor:
        rows: list[Tensor] = []
        for part in torch.split(batch.to(model.device), every.batch):
            lacking = 0 if every.fixed is None else every.fixed - len(part)
            full = torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])])
            with torch.no_grad():
                rows += decode(every.forward(full), len(full))[: len(part), :, :6].cpu()
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)

    return run


def _step(every: EveryRun, batch: Tensor) -> float:
    with torch.no_grad():
        kinds = [y.dtype for _, y in named_tensors(every.forward(batch)) if y.is_floating_point()]
    return max((torch.finfo(kind).eps for kind in kinds), default=torch.finfo(torch.float32).eps)


@dataclass(frozen=True)
class SameBoxes:
    """The check for a detector, whatever makes it equivariant.

    A comparison is one image at one shift, of those that have boxes. Boxes are paired by score and
    label, whose bits have to be equal, and where several share both, by place on the torus.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    """Total stride: all its phases count."""
    step: float
    """Of the coordinates' type, as a share of a number."""

    def __call__(
        self,
        run: Run,
        original: Run | None,
        images: Mapping[str, Tensor],
        *,
        device: str,
        comparisons: int,
        seed: int,
        subject: str,
        until: float = inf,
    ) -> Verification:
        """Over the phases of the stride, at random places of the torus."""
        periodic = [n for n, x in images.items() if breaking_period(x, self.size) is not None]
        names = [name for name in images if name not in periodic]
        stack = torch.stack([images[name] for name in names]).to(device)
        bounded = until < inf
        plan = schedule(len(names), self.size, self.stride, comparisons, seed, bounded=bounded)
        trial = Trial(names, stack, plan, until=until)
        with exact_arithmetic():
            figures, done = trial.compared(run, self)
            control: ShiftErrors | None = None
            if original is not None:
                control = trial.first(min(_CONTROL, comparisons)).errors(original, self)
        return trial.record(
            figures,
            control,
            [] if figures.comparisons else [_NONE],
            plan=done,
            subject=subject,
            criterion=_CRITERION,
            total_stride=self.stride,
            periodic_images=tuple(periodic),
            dense=False,
        )

    @property
    def threshold(self) -> None:
        """No number is a label by itself."""
        return None

    def outputs(self, run: Run, batch: Tensor) -> Any:
        """Boxes (N, K, 6)."""
        return run(batch)

    def pairs(
        self, images: slice, shifts: Sequence[Shift], before: Tensor, after: Tensor
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Coordinates and scores of each image, those before the shift moved by it."""
        for i, shift in enumerate(shifts):
            old, new = _known(before[i]), _known(after[i])
            if len(old) or len(new):
                yield i, *self._pair(old, new, shift)

    def _pair(self, old: Tensor, new: Tensor, shift: Shift) -> tuple[Tensor, Tensor]:
        old, new = _in_order(old), _in_order(new)
        if len(old) != len(new) or not torch.equal(old[:, 4:], new[:, 4:]):
            return torch.zeros(1), torch.full((1,), inf)
        sides = torch.tensor([self.size[1], self.size[0]] * 2, dtype=torch.float64)
        moved = old[:, :4].double() + torch.tensor([shift[1], shift[0]] * 2)
        found = new[_paired(moved, new, sides), :4].double()
        found = found + _turns(moved, found, sides)
        within = ROUNDINGS * 2 * self.step * torch.maximum(sides, moved.abs())
        places = torch.where((found - moved).abs() <= within, moved, found)
        return (
            torch.cat([moved, old[:, 4:5]], 1).reshape(1, -1),
            torch.cat([places, old[:, 4:5]], 1).reshape(1, -1),
        )


def _known(rows: Tensor) -> Tensor:
    """Those that are boxes; where there are as many as are kept, without the last score, of which
    some may have been left out. A row of NaN stays."""
    rows = rows[rows[:, 5] != -1]
    return rows[rows[:, 4] != rows[-1, 4]] if len(rows) == MOST_BOXES else rows


def _in_order(rows: Tensor) -> Tensor:
    """By score and label."""
    rows = rows[torch.argsort(rows[:, 5], stable=True)]
    return rows[torch.argsort(rows[:, 4], descending=True, stable=True)]


def _turns(moved: Tensor, found: Tensor, sides: Tensor) -> Tensor:
    """Whole images (K, 4) by which boxes lie elsewhere, by their centres."""
    apart = moved - found
    centre = (apart[..., :2] + apart[..., 2:]) / 2
    return (torch.round(centre / sides[:2]) * sides[:2]).repeat(*([1] * (apart.dim() - 1)), 2)


def _paired(moved: Tensor, new: Tensor, sides: Tensor) -> Tensor:
    """For each box of `moved` the place of its partner: the same score and label, and nearest."""
    places = torch.arange(len(new))
    _, group, counts = torch.unique_consecutive(
        new[:, 4:], dim=0, return_inverse=True, return_counts=True
    )
    for number in torch.nonzero(counts > 1)[:, 0].tolist():
        own = torch.nonzero(group == number)[:, 0]
        expected, found = moved[own][:, None], new[own, :4].double()[None]
        apart = (found + _turns(expected, found, sides) - expected).abs().sum(-1)
        rows, columns = linear_sum_assignment(apart.numpy())
        places[own[torch.as_tensor(rows)]] = own[torch.as_tensor(columns)]
    return places
