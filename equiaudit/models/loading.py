"""`load`: from a path, a zoo name or a module to a `Model` that has been run once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.errors import EquiauditError, InputError, RunError
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.deciding import deciding
from equiaudit.models.detectors import as_detector, prepared
from equiaudit.models.evidence import Output, Seen
from equiaudit.models.layouts import followed, patched
from equiaudit.models.outline import Backend, Outline, engine_for, foreseen
from equiaudit.models.outputs import (
    OutputChoice,
    is_share,
    labels_of,
    spread_of,
    sums_to_one,
    take_output,
)
from equiaudit.models.preprocess import PreprocessOverrides, resolve_preprocess
from equiaudit.models.reading import read_artefact, with_weights_dtype
from equiaudit.models.readings import AmbiguousOutput, LayoutChoice, choose_output
from equiaudit.models.runner import Runner, Take, native_runner, through_export
from equiaudit.models.running import (
    device_of_runtime,
    in_pieces,
    resolve_device,
)
from equiaudit.models.runtimes import RUNTIMES
from equiaudit.models.stated_reading import Asked, asked_of
from equiaudit.models.stride import total_stride
from equiaudit.models.torch_input import refuse_other_input
from equiaudit.models.types import Layout, Model
from equiaudit.tasks import TASKS

_PROBE = 2
_TOLERANCE = 1e-4  # of the output's range, between torch and its ONNX export


@dataclass(frozen=True)
class _Looked:
    """What a run over fixed noise came to."""

    choice: OutputChoice
    output: Tensor
    fixed_batch: int | None
    notes: tuple[str, ...] = ()


def load(
    spec: str | Path | nn.Module | Outline,
    *,
    arch: str | None = None,
    trust: bool = False,
    weights: str | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    output: str | int | None = None,
    task: str = "auto",
    threshold: float | None = None,
    output_layout: LayoutChoice = "auto",
    preprocess: PreprocessOverrides | None = None,
    stride: int | tuple[int, int] | None = None,
    normalisation: bool = True,
    inputs: Mapping[str, str] | None = None,
    detector: str | None = None,
) -> Model:
    """Load a model, put it in eval mode and run it once to see what it returns.

    Args:
        spec: a file (its kind is told from its content), `torchvision:NAME/WEIGHTS`,
            `timm:NAME`, a module; or what is `foreseen` of one, with the same settings.
        arch: the architecture of a state dict: `torchvision:NAME`, `timm:NAME` or
            `pkg.module:factory` (called without arguments; found in the current folder or on
            PYTHONPATH).
        trust: unpickle code the file carries. Only for files whose author you trust.
        weights: which set of weights of a checkpoint: "ema", "raw", or its key or prefix. None
            takes a moving average before raw weights, and refuses two of the same rank.
        device: auto, cpu, cuda or cuda:N.
        backend: auto (torch, or the runtime that a file is made for), torch, compile, or a
            name of `equiaudit.models.runtimes.RUNTIMES`.
        output: name or place of the output to take, where the model returns several.
        task: auto, or a name of `equiaudit.tasks.TASKS`.
        threshold: probability above which the answer is yes, 0 < t < 1; for tasks that decide.
        output_layout: auto, NCHW or NHWC: where the channels of a map that the model returns are.
        preprocess: what the caller states of the preprocessing; wins over sidecar and model.
        stride: total stride, px, where it is known better than a run can tell.
        normalisation: whether mean and std must be known; not for work without images, which
            takes no labels from outputs either: what they may be besides is then noted only.
        inputs: values for the inputs of an ONNX file that are not the image, by name: numbers
            with commas between, or "zeros".
        detector: how boxes are made of the outputs: a preset, a TOML file with a `[detector]`
            table, or `pkg.module:function`; wins over the table of a sidecar.

    Raises:
        InputError: the file is not a model, is damaged or needs code; the preprocessing is
            not known; the architecture does not fit; the device or backend cannot run it; the
            output can be read in more than one way.
        RunError: the model raises on a batch of noise of the stated size.
    """
    overrides = preprocess or PreprocessOverrides()
    if not isinstance(spec, Outline):
        spec = foreseen(
            spec,
            arch=arch,
            trust=trust,
            weights=weights,
            backend=backend,
            task=task,
            preprocess=overrides,
            normalisation=normalisation,
            inputs=inputs,
        )
    target = resolve_device(device)
    artefact = prepared(read_artefact(spec))
    engine = engine_for(backend, artefact.name, kind=artefact.kind, eager=artefact.eager)
    if engine in RUNTIMES and device == "auto":
        target = device_of_runtime(engine, target)
    hints = with_weights_dtype(artefact)
    how = resolve_preprocess(
        overrides,
        model=artefact.path,
        name=artefact.name,
        hints=hints,
        normalisation=normalisation,
    )
    flags = Asked(task, output_layout, output, threshold, doubtful=not normalisation)
    asked = asked_of(flags, how, detector, trust=trust)
    runner = native_runner(artefact, how, target, engine)
    seen = _look(runner, asked)
    exported = engine in RUNTIMES and artefact.module is not None
    if exported and seen.choice.read is not None:
        raise InputError(
            f"{artefact.name} is a detector, whose boxes are not compared between backends.",
            tip="Use --backend torch.",
        )
    if exported:
        take = take_output(seen.choice, what=artefact.name)
        runner = through_export(runner, engine, seen.output, take, seen.fixed_batch)
        _refuse_disagreement(runner, engine, take, seen)
    pair = (stride, stride) if isinstance(stride, int) else stride
    loaded = replace(_model(runner, seen, engine, pair), task_source=asked.source)
    stated = "" if threshold is not None else how.source.get("threshold", "")
    return deciding(loaded, asked.threshold, stated)


def _look(runner: Runner, asked: Asked) -> _Looked:
    """Run on noise: two images, or one where the model takes or returns only one."""
    fixed = runner.artefact.fixed_batch
    if fixed is not None:
        return _look_at(runner, fixed, asked, fixed_batch=fixed)
    try:
        return _look_at(runner, _PROBE, asked, fixed_batch=None)
    except AmbiguousOutput:
        raise
    except (InputError, RunError) as failure:
        return _look_again(runner, asked, failure)


def _look_again(runner: Runner, asked: Asked, failure: EquiauditError) -> _Looked:
    """On batches that may be built into the model: one image, or what its shapes name."""
    for count in (1, *runner.artefact.batches):
        try:
            seen = _look_at(runner, count, asked, fixed_batch=count)
        except AmbiguousOutput:
            raise
        except (InputError, RunError):
            continue
        said = "one image" if count == 1 else f"{count} images"
        return replace(seen, notes=(f"runs {said} per batch: two images failed", *seen.notes))
    if runner.artefact.module is not None:
        refuse_other_input(runner.artefact.module, runner.preprocess.planes, runner.artefact.name)
    raise failure from failure.__cause__


def _look_at(runner: Runner, count: int, asked: Asked, *, fixed_batch: int | None) -> _Looked:
    name = runner.artefact.name
    returned = runner.forward(runner.probe(count))
    choice = _boxes(runner, returned, count, asked)
    if choice is not None:
        assert choice.read is not None
        return _Looked(choice, choice.read(returned, count), fixed_batch, choice.notes)
    choice = choose_output(
        _seen(runner, returned, count),
        task=asked.task,
        layout=asked.layout,
        output=asked.output,
        what=name,
        doubtful=asked.doubtful,
    )
    taken = take_output(choice, what=name)(returned, count)
    return _Looked(choice, taken, fixed_batch, choice.notes)


def _boxes(runner: Runner, returned: Any, count: int, asked: Asked) -> OutputChoice | None:
    """How the output is read as a detector's; None where it is none, or that is no matter."""
    told = asked.detector is not None or asked.task != "auto"
    if asked.doubtful and not told:
        return None
    stated = "" if told else runner.origins(count).stated
    size, name = runner.preprocess.size, runner.artefact.name
    return as_detector(returned, size, asked.detector, task=asked.task, stated=stated, what=name)


def _seen(runner: Runner, returned: Any, count: int) -> Seen:
    origins = runner.origins(count)
    named = list(named_tensors(returned))

    def at(place: int, batch: Tensor) -> Tensor:
        return list(named_tensors(runner.forward(batch)))[place][1]

    def louder(place: int) -> Tensor | None:
        try:
            return at(place, runner.louder(count))
        except RunError:
            return None

    def follows(place: int) -> Layout | None:
        changed = patched(runner.probe(count))
        return followed(named[place][1], lambda k: at(place, changed[k]))

    return Seen(
        count,
        runner.preprocess.size,
        tuple(Output(n, i, tensor, origins.of(n)) for i, (n, tensor) in enumerate(named)),
        louder,
        follows,
        origins.suppresses,
        origins.stated,
        len(runner.artefact.class_names or ()),
    )


def _refuse_disagreement(runner: Runner, engine: str, take: Take, seen: _Looked) -> None:
    """Labels must be the same and outputs within `_TOLERANCE` of their range."""
    output = take(runner.forward(runner.probe(len(seen.output))), len(seen.output))
    error = float((output - seen.output).abs().max()) / spread_of(seen.output)
    probabilities, name = _are_probabilities(runner, seen), runner.artefact.name
    first, second = (
        labels_of(each, probabilities=probabilities, task=seen.choice.task)
        for each in (output, seen.output)
    )
    if not torch.equal(first, second) or not error <= _TOLERANCE:
        raise InputError(
            f"{name} run by {engine} differs from torch by {error:.1e} of the output's range.",
            tip="Use --backend torch.",
        )


def _model(runner: Runner, seen: _Looked, engine: str, stride: tuple[int, int] | None) -> Model:
    artefact, task = runner.artefact, TASKS[seen.choice.task]
    take = take_output(seen.choice, what=artefact.name)
    told = seen.choice.labels or task.declared
    count = seen.choice.classes if told else seen.output.shape[1]
    classes = count if task.scores or task.declared else None
    return Model(
        name=artefact.name,
        kind=artefact.kind,
        run=in_pieces(runner.forward, take, seen.fixed_batch),
        preprocess=runner.preprocess,
        task=task.name,
        device=runner.device,
        sha256=artefact.sha256,
        backend=engine,
        path=artefact.path,
        output=seen.choice.name,
        module=artefact.module,
        fixed_batch=seen.fixed_batch,
        outputs_probabilities=task.scores and _are_probabilities(runner, seen),
        outputs_labels=seen.choice.labels,
        output_layout=seen.choice.layout,
        reading=seen.choice.notes[0] if seen.choice.read is not None else "",
        detector=seen.choice.declared,
        points=seen.choice.points,
        masks=seen.choice.masks,
        num_classes=classes,
        class_names=artefact.names_of(classes, 1 if task.declared else 2),
        total_stride=stride or _found_stride(runner, seen.fixed_batch),
        one_size="size" in artefact.hints.fixed,
        doubt=seen.choice.doubt,
        trusted=artefact.trusted,
        notes=artefact.notes + seen.notes + runner.notes,
    )


def _are_probabilities(runner: Runner, seen: _Looked) -> bool:
    """Whether the scores are probabilities already, so that no softmax is due.

    A single score per image or pixel, and scores of which several may be right, are taken for a
    sigmoid's when they stay in [0, 1] under noise a hundred times too strong, where a logit does
    not.
    """
    if seen.choice.labels:
        return False
    if seen.output.shape[1] != 1 and TASKS[seen.choice.task].exclusive:
        return sums_to_one(seen.output)
    count = len(seen.output)
    take = take_output(seen.choice, what=runner.artefact.name)
    return is_share(seen.output) and is_share(take(runner.forward(runner.louder(count)), count))


def _found_stride(runner: Runner, fixed_batch: int | None) -> tuple[int, int] | None:
    artefact = runner.artefact
    if artefact.onnx is not None:
        from equiaudit.models.onnx_stride import onnx_total_stride

        how, image = runner.preprocess, artefact.image_input
        channels = len(how.mean)
        return onnx_total_stride(artefact.onnx, how.size, how.layout, image, channels=channels)
    if artefact.module is None:
        return None
    batch = runner.probe(fixed_batch or 1)
    return total_stride(artefact.module, batch, layout=runner.preprocess.layout)
