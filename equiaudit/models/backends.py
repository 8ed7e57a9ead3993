"""The fastest way to run a model that says the same as the model as it is.

`choose` tries, on images of the data and as long as the scan is long enough to repay it,
onnxruntime on an export, torch on a graph with folded batch norms in channels-last layout,
`torch.compile` of that graph, and other batch sizes of the best of these. A way is taken only
where its labels are the same and its outputs differ by at most 1e-5 of their range.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from equiaudit.errors import InputError, first_line
from equiaudit.graphs.folding import fold_batch_norms
from equiaudit.models.outputs import OutputChoice, model_labels, spread_of, take_output
from equiaudit.models.running import export_to_onnx, guarded, in_pieces, probe_batch
from equiaudit.models.types import Model

TOLERANCE = 1e-5
"""Of the range of the outputs of the model as it is."""
_ROUNDS = 2
_GAIN = 0.9
"""A way has to be this much faster to be taken: less may be the noise of the clock."""
_REPAID = 4
"""A way is tried where the scan would take so many times as long as the trial."""

# Seconds to get ready, on one slow core; what comes later is scaled by what capture took.
_CAPTURE_SECONDS = 3.0
_SCALED = {"onnxruntime": 3.0, "torch-folded": 0.2, "compile": 8.0}


@dataclass(frozen=True)
class Trial:
    """One way at one batch size: seconds per image, or why it is out of the question."""

    backend: str
    batch_size: int
    seconds: float | None = None
    error: float | None = None
    """Largest difference from the model as it is, over the range of its outputs."""
    reason: str = ""
    """Why it was not tried, or not taken; empty for a way that was fit."""


@dataclass(frozen=True)
class Choice:
    """The model to run, the images per call, and all that was tried."""

    model: Model
    batch_size: int
    sentence: str
    trials: tuple[Trial, ...] = ()


def stays(model: Model, batch_size: int, why: str) -> Choice:
    """The model as it is, with a sentence that says why nothing was tried."""
    return Choice(model, batch_size, f"Backend: {model.backend}, for {why}.")


def choose(
    model: Model,
    images: Tensor,
    *,
    passes: int,
    batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """The fastest fit way to put `passes` images through `model`.

    `images` (n, C, H, W) are prepared as the model wants them; `batch_size` is that of the
    model as it is. Trying costs at most about a quarter of what it may save.
    """
    return _Contest(model, images, passes, batch_size, clock).settle()


def ways(model: Model, batch_size: int) -> Iterator[tuple[str, int]]:
    """Every backend and batch size that `choose` may come to."""
    for backend in (model.backend, *(_SCALED if model.module is not None else ())):
        for size in (batch_size, *_other_sizes(backend, batch_size)):
            yield backend, size


def rebuild(model: Model, backend: str) -> Model:
    """`model` run by `backend`, as `choose` made it before; what fails is raised as it is."""
    if backend == model.backend:
        return model
    return _built(model, backend, graph_of(model))


def graph_of(model: Model) -> fx.GraphModule:
    """The torch module of `model` as one aten graph with a dynamic batch, or an error."""
    from equiaudit.graphs.capture import capture

    if model.module is None:
        raise InputError(f"{model.name} has no torch module.")
    how = model.preprocess
    return capture(
        model.module, size=how.size, channels=len(how.mean), dtype=how.tensor_dtype
    ).graph_module


class _Contest:
    """One choice on its way."""

    def __init__(
        self,
        model: Model,
        images: Tensor,
        passes: int,
        batch_size: int,
        clock: Callable[[], float],
    ) -> None:
        self.model, self.images, self.passes = model, images, passes
        self.native, self.clock = batch_size, clock
        self.trials: list[Trial] = []
        self.ways: dict[str, Model] = {model.backend: model}
        self.graph: fx.GraphModule | InputError | None = None
        self.capture_seconds = _CAPTURE_SECONDS
        self.started = clock()

    def settle(self) -> Choice:
        """Try what is worth it, in order, and take the fastest."""
        given = self._measure(self.model, self.native)
        if given is None:
            return stays(self.model, self.native, "a batch of it does not fit into memory")
        if not self._repays(_CAPTURE_SECONDS, given):
            about = f"the scan is short (about {_duration(given * self.passes)} of passes)"
            return replace(stays(self.model, self.native, about), trials=tuple(self.trials))
        self.expected = self._outputs(self.model, self.native)
        for backend, factor in _SCALED.items() if self.model.module is not None else ():
            self._try(backend, factor)
        self._measure_other_sizes(self._best())
        return self._choice(given)

    def _measure(self, model: Model, size: int) -> float | None:
        """Seconds per image, noted as a trial; None where the batch is too large."""
        try:
            seconds = _seconds(model, self.images, size, self.clock)
        except torch.OutOfMemoryError:
            self._reject(model.backend, "out of memory", size)
            return None
        self.trials.append(Trial(model.backend, size, seconds))
        return seconds

    def _outputs(self, model: Model, size: int) -> Tensor:
        with torch.inference_mode():
            return torch.cat([model.run(part) for part in torch.split(self.images, size)])

    def _measure_other_sizes(self, best: Trial) -> None:
        """Of the best way; what it takes is known from its pace."""
        way, pace = self.ways[best.backend], best.seconds or 0.0
        for size in _other_sizes(best.backend, self.native):
            passes = len(self.images) + (_ROUNDS + 1) * size
            repays = size <= len(self.images) and self._repays(passes * pace, pace)
            if repays and self._fits(way, size):
                self._measure(way, size)

    def _repays(self, seconds: float, pace: float) -> bool:
        """Whether a trial of so many seconds, after all before it, is small beside the scan."""
        spent = self.clock() - self.started
        return self.passes * pace >= _REPAID * (spent + seconds)

    def _best(self) -> Trial:
        fit = [trial for trial in self.trials if trial.seconds is not None]
        return min(fit, key=lambda trial: trial.seconds or 0.0)

    def _try(self, backend: str, factor: float) -> None:
        captured = 0.0 if self.graph is not None else self.capture_seconds
        cost = captured + factor * self.capture_seconds
        if not self._repays(cost, self._best().seconds or 0.0):
            self._reject(backend, f"not tried: about {_duration(cost)} would not be repaid")
            return
        try:
            way = _built(self.model, backend, self._captured())
            if self._fits(way, self.native):
                self.ways[backend] = way
                self._measure(way, self.native)
        except Exception as error:  # exporters and compilers raise nearly anything
            self._reject(backend, first_line(error))

    def _captured(self) -> fx.GraphModule:
        """The graph, made once; an attempt that failed is not made again."""
        if self.graph is None:
            started = self.clock()
            try:
                self.graph = graph_of(self.model)
            except Exception as error:  # torch raises nearly anything here
                self.graph = InputError(first_line(error))
            self.capture_seconds = self.clock() - started
        if isinstance(self.graph, InputError):
            raise self.graph
        return self.graph

    def _fits(self, way: Model, size: int) -> bool:
        """Whether labels are the same and outputs near enough; says why where they are not."""
        outputs = self._outputs(way, size)
        error = _difference(outputs, self.expected)
        if error is None:
            self._reject(way.backend, f"it returns {tuple(outputs.shape[1:])}", size)
        elif not torch.equal(*(model_labels(self.model, x) for x in (outputs, self.expected))):
            self._reject(way.backend, "labels differ", size, error)
        elif not error <= TOLERANCE:
            self._reject(way.backend, f"outputs differ by {error:.1e} of their range", size, error)
        else:
            return True
        return False

    def _reject(
        self, backend: str, reason: str, size: int | None = None, error: float | None = None
    ) -> None:
        self.trials.append(Trial(backend, size or self.native, error=error, reason=reason))

    def _choice(self, given: float) -> Choice:
        best = self._best()
        if (best.seconds or 0.0) > _GAIN * given:
            best = self.trials[0]
        said = _said(best, given, self.trials)
        return Choice(self.ways[best.backend], best.batch_size, said, tuple(self.trials))


def _other_sizes(backend: str, usual: int) -> tuple[int, ...]:
    """A quarter and twice the usual; a compiled graph is made for one size."""
    sizes = (max(1, usual // 4), usual * 2)
    return () if backend == "compile" else tuple(size for size in sizes if size != usual)


def _built(model: Model, backend: str, graph: fx.GraphModule) -> Model:
    """`model` with `graph` for its torch module, run by `backend`."""
    if backend == "onnxruntime":
        from equiaudit.models.onnx import onnx_forward

        example = probe_batch(model.preprocess, 2, torch.device("cpu"))
        exported = export_to_onnx(graph, example, what=model.name, dynamic=True)
        forward: Callable[[Tensor], Any] = onnx_forward(exported, model.device, what=model.name)
    else:
        forward = _channels_last(graph, model.device, compiled=backend == "compile")
    choice = OutputChoice(
        "", 0, model.task, layout=model.output_layout, labels=model.outputs_labels
    )
    take = take_output(choice, what=model.name)
    run = in_pieces(guarded(forward, layout="NCHW", what=model.name), take, None)
    return replace(model, run=run, backend=backend, fixed_batch=None)


def _channels_last(
    graph: fx.GraphModule, device: torch.device, *, compiled: bool
) -> Callable[[Tensor], Any]:
    folded: nn.Module = fold_batch_norms(graph).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    call: Callable[..., Any] = torch.compile(folded) if compiled else folded

    def forward(batch: Tensor) -> Any:
        with torch.inference_mode():
            return call(batch.contiguous(memory_format=torch.channels_last))

    return forward


def _seconds(model: Model, images: Tensor, size: int, clock: Callable[[], float]) -> float:
    part = images[torch.arange(size) % len(images)]
    rounds = []
    with torch.inference_mode():
        _synchronised(model, part)
        for _ in range(_ROUNDS):
            started = clock()
            _synchronised(model, part)
            rounds.append(clock() - started)
    return min(rounds) / size


def _synchronised(model: Model, batch: Tensor) -> None:
    model.run(batch)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _difference(outputs: Tensor, expected: Tensor) -> float | None:
    """The largest difference over the range of what is expected; None for another shape."""
    if outputs.shape != expected.shape:
        return None
    return float((outputs - expected).abs().max()) / spread_of(expected)


def _said(best: Trial, given: float, trials: Sequence[Trial]) -> str:
    gain = given / (best.seconds or given)
    faster = f", {gain:.1f} times as fast as the file as it is" if best is not trials[0] else ""
    out = {t.backend: t.reason for t in trials if t.reason}
    others = "".join(f"; {name}: {reason}" for name, reason in out.items())
    return f"Backend: {best.backend}, {best.batch_size} images per call{faster}{others}."


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "a second"
