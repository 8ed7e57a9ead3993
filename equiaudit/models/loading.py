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
from equiaudit.models.artefact import Artefact, Forward
from equiaudit.models.deciding import deciding
from equiaudit.models.detectors import as_detector, prepared
from equiaudit.models.evidence import Output, Seen
from equiaudit.models.layouts import followed, patched
from equiaudit.models.origins import Origins, torch_origins
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
from equiaudit.models.running import (
    device_of_onnxruntime,
    export_to_onnx,
    guarded,
    in_pieces,
    probe_batch,
    resolve_device,
    torch_forward,
)
from equiaudit.models.stated_reading import Asked, asked_of
from equiaudit.models.stride import total_stride
from equiaudit.models.torch_input import refuse_other_input
from equiaudit.models.types import Layout, Model, Preprocess
from equiaudit.tasks import TASKS

_PROBE = 2
_TOLERANCE = 1e-4  # of the output's range, between torch and its ONNX export


@dataclass(frozen=True)
class _Runner:
    """A way to run the model on one device, and the preprocessing its batches have."""

    artefact: Artefact
    preprocess: Preprocess
    device: torch.device
    forward: Forward

    def probe(self, count: int) -> Tensor:
        return probe_batch(self.preprocess, count, self.device)

    def louder(self, count: int) -> Tensor:
        """The probe a hundred times as strong; as it is where pixels are raw."""
        batch = self.probe(count)
        return batch if batch.dtype == torch.uint8 else batch * 100

    def origins(self, count: int) -> Origins:
        """What makes the outputs, for a batch of `count`."""
        how = self.preprocess
        if self.artefact.onnx is not None:
            from equiaudit.models.onnx_origins import onnx_origins

            sides = (len(how.mean), *how.size)
            return onnx_origins(self.artefact.onnx, sides, how.layout, self.artefact.image_input)
        if self.artefact.module is None:
            return Origins({})
        batch = self.probe(count)
        image = batch.permute(0, 2, 3, 1) if how.layout == "NHWC" else batch
        return torch_origins(self.artefact.module, image)


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
        backend: auto (torch, or onnxruntime for ONNX), torch, compile or onnxruntime.
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
    onnx = artefact.onnx is not None
    engine = engine_for(backend, artefact.name, onnx=onnx, eager=artefact.eager)
    if engine == "onnxruntime" and device == "auto":
        target = device_of_onnxruntime(target)
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
    runner = _native_runner(artefact, how, target, compiled=engine == "compile")
    seen = _look(runner, asked)
    if engine == "onnxruntime" and artefact.module is not None and seen.choice.read is not None:
        raise InputError(
            f"{artefact.name} is a detector, whose boxes are not compared between backends.",
            tip="Use --backend torch.",
        )
    if engine == "onnxruntime" and artefact.module is not None:
        runner = _through_onnxruntime(runner, artefact.module, seen)
    pair = (stride, stride) if isinstance(stride, int) else stride
    loaded = replace(_model(runner, seen, engine, pair), task_source=asked.source)
    stated = "" if threshold is not None else how.source.get("threshold", "")
    return deciding(loaded, asked.threshold, stated)


def _native_runner(
    artefact: Artefact, preprocess: Preprocess, device: torch.device, *, compiled: bool
) -> _Runner:
    if artefact.module is not None:
        forward = torch_forward(artefact.module.to(device), compiled=compiled)
    else:
        forward = _onnx_forward(artefact.onnx or Path(), device, artefact)
    return _Runner(artefact, preprocess, device, _guarded(forward, artefact, preprocess))


def _onnx_forward(source: Path | bytes, device: torch.device, artefact: Artefact) -> Forward:
    from equiaudit.models.onnx import onnx_forward

    image, inputs = artefact.image_input, artefact.inputs
    return onnx_forward(source, device, what=artefact.name, image=image, inputs=inputs)


def _guarded(forward: Forward, artefact: Artefact, preprocess: Preprocess) -> Forward:
    return guarded(forward, layout=preprocess.layout, what=artefact.name)


def _look(runner: _Runner, asked: Asked) -> _Looked:
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


def _look_again(runner: _Runner, asked: Asked, failure: EquiauditError) -> _Looked:
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


def _look_at(runner: _Runner, count: int, asked: Asked, *, fixed_batch: int | None) -> _Looked:
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


def _boxes(runner: _Runner, returned: Any, count: int, asked: Asked) -> OutputChoice | None:
    """How the output is read as a detector's; None where it is none, or that is no matter."""
    told = asked.detector is not None or asked.task != "auto"
    if asked.doubtful and not told:
        return None
    stated = "" if told else runner.origins(count).stated
    size, name = runner.preprocess.size, runner.artefact.name
    return as_detector(returned, size, asked.detector, task=asked.task, stated=stated, what=name)


def _seen(runner: _Runner, returned: Any, count: int) -> Seen:
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


def _through_onnxruntime(runner: _Runner, module: nn.Module, seen: _Looked) -> _Runner:
    """The module exported to ONNX; InputError where its outputs differ from torch's."""
    name, preprocess = runner.artefact.name, runner.preprocess
    batch = runner.probe(len(seen.output))
    example = batch.permute(0, 2, 3, 1) if preprocess.layout == "NHWC" else batch
    exported = export_to_onnx(module, example, what=name, dynamic=seen.fixed_batch is None)
    forward = _guarded(
        _onnx_forward(exported, runner.device, runner.artefact), runner.artefact, preprocess
    )
    taken = take_output(seen.choice, what=name)(forward(batch), len(batch))
    _refuse_disagreement(taken, seen, _are_probabilities(runner, seen), name)
    return replace(runner, forward=forward)


def _refuse_disagreement(output: Tensor, seen: _Looked, probabilities: bool, name: str) -> None:
    """Labels must be the same and outputs within `_TOLERANCE` of their range."""
    error = float((output - seen.output).abs().max()) / spread_of(seen.output)
    first, second = (
        labels_of(each, probabilities=probabilities, task=seen.choice.task)
        for each in (output, seen.output)
    )
    if not torch.equal(first, second) or not error <= _TOLERANCE:
        raise InputError(
            f"{name} run by onnxruntime differs from torch by {error:.1e} of the output's range.",
            tip="Use --backend torch.",
        )


def _model(runner: _Runner, seen: _Looked, engine: str, stride: tuple[int, int] | None) -> Model:
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
        notes=artefact.notes + seen.notes,
    )


def _are_probabilities(runner: _Runner, seen: _Looked) -> bool:
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


def _found_stride(runner: _Runner, fixed_batch: int | None) -> tuple[int, int] | None:
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
