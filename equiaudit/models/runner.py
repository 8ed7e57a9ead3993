"""What runs an artefact: torch, or a runtime, on the file or on an export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.models.artefact import Artefact, Forward
from equiaudit.models.origins import Origins, torch_origins
from equiaudit.models.running import export_to_onnx, guarded, probe_batch, torch_forward
from equiaudit.models.runtimes import installed
from equiaudit.models.types import Preprocess

Take = Callable[[Any, int], Tensor]
"""The task's output among what a model returns for so many images."""


@dataclass(frozen=True)
class Runner:
    """A way to run the model on one device, and the preprocessing its batches have."""

    artefact: Artefact
    preprocess: Preprocess
    device: torch.device
    forward: Forward
    notes: tuple[str, ...] = ()
    """What is to be known of the runtime."""

    def probe(self, count: int) -> Tensor:
        """`count` images of fixed noise."""
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


def native_runner(
    artefact: Artefact, preprocess: Preprocess, device: torch.device, engine: str
) -> Runner:
    """The file by its runtime `engine`; a module by torch, to be compared with what comes later."""
    notes: tuple[str, ...] = ()
    if artefact.module is not None:
        forward = torch_forward(artefact.module.to(device), compiled=engine == "compile")
    else:
        source = artefact.onnx or artefact.own
        if source is None:
            raise InputError(f"{artefact.name} is no file that a runtime reads.")
        runtime = installed(engine)
        image, inputs = artefact.image_input, artefact.inputs
        forward = runtime.forward(source, device, what=artefact.name, image=image, inputs=inputs)
        notes = _said(engine)
    run = guarded(forward, layout=preprocess.layout, what=artefact.name)
    return Runner(artefact, preprocess, device, run, notes)


def through_export(
    runner: Runner, engine: str, output: Tensor, take: Take, fixed_batch: int | None
) -> Runner:
    """The torch module of `runner`, exported to ONNX and run by the runtime `engine`."""
    artefact, how = runner.artefact, runner.preprocess
    batch = runner.probe(len(output))
    example = batch.permute(0, 2, 3, 1) if how.layout == "NHWC" else batch
    assert artefact.module is not None
    exported = export_to_onnx(
        artefact.module, example, what=artefact.name, dynamic=fixed_batch is None
    )
    forward = installed(engine).forward(exported, runner.device, what=artefact.name)
    run = guarded(forward, layout=how.layout, what=artefact.name)
    return replace(runner, forward=run, notes=_said(engine))


def _said(engine: str) -> tuple[str, ...]:
    """What a runtime is, where it is not the usual one."""
    return () if engine == "onnxruntime" else (f"run by {installed(engine).said()}",)
