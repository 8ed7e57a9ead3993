"""recover: calibrate -> distil -> fine-tune a converted graph, its operations unchanged."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from equiaudit.errors import InputError
from equiaudit.results.repair import TrainingRecord, TrainingStage
from equiaudit.training import checkpoint
from equiaudit.training.batchnorm import batch_norms, calibrate, norm_modules
from equiaudit.training.examples import Examples
from equiaudit.training.loop import Course, Listener, mean_loss, put, train
from equiaudit.training.losses import Losses, ScoreLosses
from equiaudit.training.objective import Distillation, Labels, Objective, accuracy
from equiaudit.training.options import Stage, TrainingOptions
from equiaudit.training.student import trainable_copy, with_features

Details = dict[str, str | int | float | bool | None]

_CALIBRATION_BATCH = 256
_TRIED = 8
_ROLLS = ((1, 0), (0, 1), (3, 5))
_ROUNDING = 1e-4
"""Of the output's range: what rounding may do to a net that follows rolls."""
_SMALLEST = 1e-12
_NO_NORM = (
    "calibrate found no batch normalisation in the graph (it was folded into the convolutions, or"
    " the net has none), so there is nothing to re-estimate"
)


class _Unheard:
    def begin(self, total: int, done: int) -> None:
        """Ignore."""

    def advance(self, passes: int) -> None:
        """Ignore."""

    def note(self, sentence: str) -> None:
        """Ignore."""


def recover(
    fixed: fx.GraphModule,
    original: fx.GraphModule,
    examples: Examples,
    options: TrainingOptions,
    observer: Listener | None = None,
    *,
    losses: Losses | None = None,
) -> tuple[fx.GraphModule, TrainingRecord]:
    """`fixed` with other weights and statistics, and what was done to get them.

    Both graphs map (N, C, H, W) to outputs that `losses` compares (scores, where none is given)
    and stay as they are: the result has tensors of its own. Its operations are those of `fixed`,
    modules included, so it is as exact as `fixed` is; verify it again all the same. A part of
    `examples` is held out of everything; the losses and accuracies of the record are measured on
    it: the loss of "calibrate" and "distil" is the distance to `original`, that of "finetune" to
    the targets. A stage of training that does not lower its loss there is undone, and a note says
    so.

    With `options.checkpoint`, a run of the same nets, images and recipe that was stopped goes
    on from its last epoch, to the same result; the file stays until `discard` removes it.

    Raises InputError where a setting or an image does not fit, RunError where training
    diverges.
    """
    run = _Run.of(
        fixed, original, examples, options, observer or _Unheard(), losses or ScoreLosses()
    )
    saved = run.saved()
    if saved is not None:
        run.take_up(saved)
    elif options.calibrate:
        run.calibrate()
    for stage in ("distil", "finetune"):
        if options.epochs(stage) and not run.has_done(stage):
            run.train(stage, saved if saved is not None and saved.stage == stage else None)
    return run.result(fixed), run.record()


@dataclass
class _Run:
    student: fx.GraphModule
    tapped: fx.GraphModule
    """The student, returning (output, features)."""
    original: fx.GraphModule
    examples: Examples
    parts: tuple[Examples, Examples]
    options: TrainingOptions
    listener: Listener
    losses: Losses
    device: torch.device
    dense: bool
    """Whether the output is a map."""
    fingerprint: str
    stages: list[TrainingStage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @staticmethod
    def of(
        fixed: fx.GraphModule,
        original: fx.GraphModule,
        examples: Examples,
        options: TrainingOptions,
        listener: Listener,
        losses: Losses,
    ) -> _Run:
        """Checked and ready."""
        _check(examples, options)
        device = torch.device(options.device)
        student = trainable_copy(fixed).to(device).eval()
        teacher = trainable_copy(original).to(device).eval().requires_grad_(False)
        parts = examples.split(options.holdout, options.seed)
        fingerprint = _fingerprint(fixed, original, examples, options)
        dense, exact = _maps_and_exact(student, parts[0], device)
        settled = options.settled(images=len(parts[0]), dense=dense, exact=exact)
        tapped = with_features(student).eval()
        return _Run(
            student, tapped, teacher, examples, parts, settled, listener, losses, device, dense,
            fingerprint,
        )  # fmt: skip

    def saved(self) -> checkpoint.State | None:
        """Where an earlier run stopped."""
        place = self.options.checkpoint
        return None if place is None else checkpoint.load(place, self.fingerprint)

    def take_up(self, state: checkpoint.State) -> None:
        """The record of an earlier run."""
        self.stages = [TrainingStage.model_validate(stage) for stage in state.numbers["stages"]]
        self.notes = list(state.numbers["notes"])
        self.listener.note(f"going on with {state.stage} after epoch {state.epoch}")

    def has_done(self, stage: Stage) -> bool:
        """Whether an earlier run finished it."""
        return any(done.name == stage for done in self.stages)

    def calibrate(self) -> None:
        """Batch statistics of the training part."""
        if not (batch_norms(self.student) or norm_modules(self.student)):
            self._note(_NO_NORM)
            return
        objective = self._objective("distil")
        before, began = self._judged(objective), time.perf_counter()
        self.listener.note("re-estimating the statistics of batch normalisation")
        layers = calibrate(self.student, self.parts[0].batches(_CALIBRATION_BATCH, self.device))
        seconds = time.perf_counter() - began
        details: Details = {"layers": layers, "batch_size": _CALIBRATION_BATCH}
        self._add("calibrate", 0, seconds, before, self._judged(objective), details)

    def train(self, stage: Stage, resumed: checkpoint.State | None) -> None:
        """One stage; its statistics are estimated anew for the weights that were kept."""
        objective = self._objective(stage)
        before = self._judged(objective) if resumed is None else resumed.numbers["before"]
        self.listener.note(f"{stage}: {self.options.epochs(stage)} epochs at most")
        course = train(
            self.tapped,
            stage,
            objective,
            self.options,
            self.parts,
            self.listener,
            resumed=resumed,
            keep=self._keep,
            run=self.fingerprint,
            numbers={**self._numbers(), "before": before},
        )
        if not self.options.frozen_norm:
            calibrate(self.student, objective.seen(self.parts[0]))
        after = self._judged(objective)
        if after["loss"] is not None and not after["loss"] <= before["loss"]:
            put(self.tapped, course.start)
            self._note(f"{stage} did not lower the held-out loss, so it changed nothing")
        self._add(stage, course.epoch, course.seconds, before, after, self._details(stage, course))

    def result(self, fixed: fx.GraphModule) -> fx.GraphModule:
        """On the CPU in eval mode, wanting gradients where `fixed` did."""
        wants = {name: p.requires_grad for name, p in fixed.named_parameters()}
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(wants.get(name, False))
            parameter.grad = None
        return self.student.cpu().eval()

    def record(self) -> TrainingRecord:
        """What was done."""
        return TrainingRecord(
            stages=tuple(self.stages),
            seed=self.options.seed,
            device=str(self.device),
            notes=tuple(self.notes),
        )

    def _objective(self, stage: Stage) -> Objective:
        if stage == "finetune":
            return Labels(self.options, self.losses, self.device, self.dense)
        return Distillation.of(
            self.original,
            self.parts[0],
            self.options,
            self.losses,
            self.device,
            dense=self.dense,
        )

    def _judged(self, objective: Objective) -> dict[str, Any]:
        """Loss and accuracy on the held-out part, as plain data."""
        held, size = self.parts[1], self.options.batch
        if not len(held):
            return {"loss": None, "accuracy": None}
        right = accuracy(self.tapped, held, self.device, size)
        return {
            "loss": mean_loss(partial(objective.held_out_loss, self.tapped), held, size),
            "accuracy": None if right is None else right.model_dump(mode="json"),
        }

    def _details(self, stage: Stage, course: Course) -> Details:
        options = self.options
        return {
            "best_epoch": course.best_epoch,
            "held_out": len(self.parts[1]),
            "learning_rate": options.rate(stage),
            "schedule": "one cycle, cosine",
            "batch_size": options.batch,
            "weight_decay": options.weight_decay,
            "average": options.average,
            "zero_pad": options.zero_pad,
            "roll": options.roll,
        }

    def _add(
        self,
        name: str,
        epochs: int,
        seconds: float,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        details: Details,
    ) -> None:
        stage = TrainingStage.model_validate(
            {
                "name": name,
                "images": len(self.parts[0]),
                "epochs": epochs,
                "seconds": seconds,
                "loss_before": before["loss"],
                "loss_after": after["loss"],
                "accuracy_before": before["accuracy"],
                "accuracy_after": after["accuracy"],
                "details": details,
            }
        )
        self.stages.append(stage)

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)
        self.listener.note(sentence)

    def _numbers(self) -> dict[str, Any]:
        stages = [stage.model_dump(mode="json") for stage in self.stages]
        return {"stages": stages, "notes": self.notes}

    def _keep(self, state: checkpoint.State) -> None:
        if self.options.checkpoint is not None:
            checkpoint.store(state, self.options.checkpoint)


def _check(examples: Examples, options: TrainingOptions) -> None:
    if not (options.calibrate or options.distil or options.finetune):
        raise InputError("There is no stage to run.", tip="Ask for calibrate, distil or finetune.")
    if len(examples) < 2:
        raise InputError("Training needs at least two images.")
    if options.finetune and not examples.has_targets:
        raise InputError(
            "finetune needs labels or masks, and these images have none.",
            tip="Use --distil, which needs none, or sort the images into class folders.",
        )


@torch.no_grad()
def _maps_and_exact(
    net: fx.GraphModule, examples: Examples, device: torch.device
) -> tuple[bool, bool]:
    """Whether its output is a map, and whether it follows rolls of the image, on a few photos."""
    x = next(examples.batches(_TRIED, device))
    y = _first(net(x))
    dense, worst = y.dim() == 4, 0.0
    if dense and y.shape[2:] != x.shape[2:]:  # rolls by 1 px have no place in it
        return True, False
    for roll in _ROLLS:
        wanted = torch.roll(y, roll, (2, 3)) if dense else y
        error = (_first(net(torch.roll(x, roll, (2, 3)))) - wanted).abs().max()
        worst = max(worst, float(error / y.abs().max().clamp_min(_SMALLEST)))
    return dense, worst < _ROUNDING


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, list | tuple) else output
    return found


def _fingerprint(
    fixed: fx.GraphModule, original: fx.GraphModule, examples: Examples, options: TrainingOptions
) -> str:
    """Of everything that decides the result."""
    digest = hashlib.sha256(json.dumps(options.recipe(), sort_keys=True).encode())
    digest.update(examples.digest().encode())
    for graph in (fixed, original):
        digest.update(graph.code.encode())
        for name, tensor in sorted(graph.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
