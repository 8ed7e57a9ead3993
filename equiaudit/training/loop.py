"""One stage of training: epochs of steps, a running average, an early end, and resuming.

Plain torch, not Lightning Fabric: what is trained is one graph on one device, whose batch norms
are nodes with a mode and not modules, so Fabric would wrap the one forward pass and give
autocast, which is one line, for a dependency of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, fx

from equiaudit.errors import RunError
from equiaudit.sampling.lps import TauSchedule
from equiaudit.training import checkpoint
from equiaudit.training.batchnorm import batch_statistics, calibrate
from equiaudit.training.examples import Examples
from equiaudit.training.objective import Objective
from equiaudit.training.options import Stage, TrainingOptions
from equiaudit.training.schedule import one_cycle
from equiaudit.training.student import decay_groups

_MOMENTUM = 0.9
_JUDGED_BY = 512
"""Images that the statistics for judging an epoch are estimated on."""
_MOST_GRADIENT = 50.0
"""Largest norm of a step's gradient; longer ones are shortened to it."""

_TEMPERATURES = ((0.0, 1.0), (62 / 90, 0.5), (82 / 90, 0.05), (1.0, 0.01))
"""Of a Gumbel softmax, by the share of the epochs: those of the LPS paper on ImageNet."""

Tensors = dict[str, Tensor]


class Listener(Protocol):
    """What hears of the progress: an observer of a scan does."""

    def begin(self, total: int, done: int) -> None:
        """`total` images will go through the net; `done` of them did in an earlier run."""

    def advance(self, passes: int) -> None:
        """`passes` more did."""

    def note(self, sentence: str) -> None:
        """Something worth a line."""


@dataclass
class Course:
    """How far a stage has come."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    best: Tensors = field(default_factory=dict)
    """The weights of the best epoch; epoch 0 is before the first."""
    start: Tensors = field(default_factory=dict)
    """Weights and statistics before the first epoch."""
    low_loss: float = math.inf
    low_epoch: int = 0
    """The best since the rate began to fall, which decides when to stop: while it is high,
    a net may well be worse than it was."""

    def numbers(self) -> dict[str, float | int]:
        """What a checkpoint keeps of it."""
        kept = ("best_loss", "best_epoch", "seconds", "low_loss", "low_epoch")
        return {name: getattr(self, name) for name in kept}


@dataclass
class _Trainer:
    net: fx.GraphModule
    """Returns (output, features)."""
    stage: Stage
    objective: Objective
    options: TrainingOptions
    part: Examples
    held_out: Examples
    course: Course
    average: Tensors
    optimizer: torch.optim.SGD

    @property
    def weights(self) -> Tensors:
        return dict(self.net.named_parameters())

    @property
    def batches(self) -> int:
        return max(1, len(self.part) // self.options.batch)

    @property
    def steps(self) -> int:
        return self.batches * self.options.epochs(self.stage)

    def epoch(self, listener: Listener) -> None:
        """Every image of the part once, in an order of its own."""
        rng = np.random.default_rng([self.options.seed, self.course.epoch, len(self.stage)])
        order = np.array_split(rng.permutation(len(self.part)), self.batches)
        self._cool()
        with self._learning(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            for i, index in enumerate(order):
                self._step(self.course.epoch * self.batches + i, index, rng)
                listener.advance(len(index))

    def _cool(self) -> None:
        """The temperature of selectors that mix components in training falls over the epochs."""
        total = self.options.epochs(self.stage)
        TauSchedule([(share * total, tau) for share, tau in _TEMPERATURES]).apply(
            self.net, self.course.epoch
        )

    @contextmanager
    def _learning(self) -> Iterator[None]:
        self.net.train()
        frozen = self.options.frozen_norm
        with nullcontext() if frozen else batch_statistics(self.net, follow=True):
            yield
        self.net.eval()

    def _step(self, step: int, index: np.ndarray, rng: np.random.Generator) -> None:
        options = self.options
        rate = one_cycle(step, self.steps, options.rate(self.stage), options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with _mixed_precision(self.objective.device):
            loss = self.objective.training_loss(self.net, self.part, index, rng)
        _require_finite(loss, self.stage)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _MOST_GRADIENT)
        self.optimizer.step()
        # Move the running average; at first it forgets faster, not to keep the beginning.
        kept = min(self.options.average, (1 + step) / (10 + step)) if self.options.average else 0
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.average[name].lerp_(weight, 1 - kept)

    def judge(self) -> None:
        """Keep the average where it is the best so far on the held-out part."""
        course, loss = self.course, self._held_out_loss()
        if loss < course.best_loss or not len(self.held_out):
            course.best_loss, course.best_epoch = loss, course.epoch
            course.best = _copied(self.average)
        falling = course.epoch > self.options.warmup * self.options.epochs(self.stage)
        if loss < course.low_loss or not (falling and len(self.held_out)):
            course.low_loss, course.low_epoch = loss if falling else math.inf, course.epoch

    def _held_out_loss(self) -> float:
        """Of what would be kept: the average, with statistics estimated for it.

        Those of the few windows of a batch would do for large batches alone: of eight windows of
        tiles they gave 0.52 where 0.39 was meant.
        """
        if not len(self.held_out):
            return math.nan
        now, options = _copied(self.weights), self.options
        put(self.net, self.average)
        if not options.frozen_norm:
            calibrate(self.net, self.objective.seen(self.part, most=_JUDGED_BY))
        with torch.no_grad(), _mixed_precision(self.objective.device):
            judged = partial(self.objective.judging_loss, self.net)
            loss = mean_loss(judged, self.held_out, options.batch)
        put(self.net, now)
        return loss

    def state(self, run: str, numbers: Mapping[str, Any]) -> checkpoint.State:
        """All that the next epoch needs."""
        course = self.course
        momentum = {
            name: self.optimizer.state[weight]["momentum_buffer"]
            for name, weight in self.weights.items()
            if self.optimizer.state[weight].get("momentum_buffer") is not None
        }
        groups = {
            "weights": self.weights,
            "buffers": dict(self.net.named_buffers()),
            "average": self.average,
            "best": course.best,
            "start": course.start,
            "momentum": momentum,
        }
        mine = {**numbers, "course": course.numbers()}
        return checkpoint.State(run, self.stage, course.epoch, groups, mine)

    def resume(self, state: checkpoint.State) -> None:
        """Go on from there."""
        groups, device = state.tensors, self.objective.device
        moved = {g: {k: t.to(device) for k, t in ts.items()} for g, ts in groups.items()}
        put(self.net, {**moved["weights"], **moved.get("buffers", {})})
        self.average.update(moved["average"])
        for name, weight in self.weights.items():
            if name in moved.get("momentum", {}):
                self.optimizer.state[weight]["momentum_buffer"] = moved["momentum"][name]
        best, start = moved["best"], moved["start"]
        self.course = Course(state.epoch, best=best, start=start, **state.numbers["course"])


def train(
    net: fx.GraphModule,
    stage: Stage,
    objective: Objective,
    options: TrainingOptions,
    parts: tuple[Examples, Examples],
    listener: Listener,
    *,
    resumed: checkpoint.State | None = None,
    keep: Callable[[checkpoint.State], None] | None = None,
    run: str = "",
    numbers: Mapping[str, Any] | None = None,
) -> Course:
    """Train `net`, which returns (output, features), in place; it ends with the best weights.

    `parts` are the examples to train on and those held out. `keep` receives the state after
    every epoch; `resumed` is one of them. The running statistics of batch normalisation are
    those of the last epoch and want re-estimating. Raises RunError where the loss is not
    finite.
    """
    trainer = _trainer(net, stage, objective, options, parts)
    if resumed is None:
        trainer.judge()
    else:
        trainer.resume(resumed)
    course, total = trainer.course, options.epochs(stage)
    listener.begin(total * len(parts[0]), course.epoch * len(parts[0]))
    while course.epoch < total:
        if course.epoch - course.low_epoch >= options.patience_of(stage):
            listener.note(
                f"{stage} ends after epoch {course.epoch}: the held-out loss has not improved"
                f" since epoch {course.low_epoch}"
            )
            break
        began = time.perf_counter()
        trainer.epoch(listener)
        course.epoch += 1
        trainer.judge()
        course.seconds += time.perf_counter() - began
        if keep is not None:
            keep(trainer.state(run, numbers or {}))
    put(net, course.best)
    return course


def mean_loss(
    loss: Callable[[Examples, np.ndarray], Tensor], examples: Examples, size: int
) -> float:
    """`loss` of about `size` examples at a time, over all of them; NaN where there are none."""
    pieces = np.array_split(np.arange(len(examples)), max(1, len(examples) // size))
    with torch.no_grad():
        losses = [loss(examples, index).item() * len(index) for index in pieces if len(index)]
    return sum(losses) / len(examples) if losses else math.nan


def _trainer(
    net: fx.GraphModule,
    stage: Stage,
    objective: Objective,
    options: TrainingOptions,
    parts: tuple[Examples, Examples],
) -> _Trainer:
    optimizer = torch.optim.SGD(
        decay_groups(net, options.weight_decay), lr=0.0, momentum=_MOMENTUM, nesterov=True
    )
    average = _copied(dict(net.named_parameters()))
    course = Course(start={**_copied(average), **_copied(dict(net.named_buffers()))})
    return _Trainer(net, stage, objective, options, *parts, course, average, optimizer)


def _mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where a GPU has it: no gradient is scaled, so nothing more is to be kept."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def _require_finite(loss: Tensor, stage: Stage) -> None:
    if not torch.isfinite(loss):
        raise RunError(
            f"The loss of {stage} is no longer finite.", tip="Give a lower --learning-rate."
        )


def _copied(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def put(net: fx.GraphModule, values: Mapping[str, Tensor]) -> None:
    """Copy `values` into the parameters and buffers of those names."""
    known = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            known[name].copy_(value)
