"""From a path, a zoo name or a module to an `Artefact`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from equiaudit.data.class_names import names_in_mapping
from equiaudit.errors import InputError
from equiaudit.models import zoo
from equiaudit.models.architectures import without_architecture
from equiaudit.models.artefact import Artefact
from equiaudit.models.batchwide import run_alone
from equiaudit.models.checkpoint import Unpickled, read_checkpoint, read_safetensors
from equiaudit.models.converted import converted_graph, is_converted
from equiaudit.models.fitting import DoesNotFit, fit_weights
from equiaudit.models.hashing import file_sha256, state_dict_sha256, text_sha256
from equiaudit.models.outline import Outline
from equiaudit.models.preprocess import Given, Hints
from equiaudit.models.stated import metadata_hints
from equiaudit.models.suggesting import suggested_architecture
from equiaudit.models.torch_input import InDtype, own_dtype
from equiaudit.models.weights import Weights, choose_module, found_weights

_SHOWN = 3


def read_artefact(outline: Outline) -> Artefact:
    """What was outlined, read, checked and in eval mode, on the CPU.

    Raises InputError where it is damaged, needs code, or does not fit its architecture.
    """
    return run_alone(_taking_float32(_read(outline)))


def _read(outline: Outline) -> Artefact:
    """Each loader imports what only it needs: onnxruntime, torch.export."""
    path = outline.path
    if isinstance(outline.spec, nn.Module):
        return _from_module(outline.spec)
    if path is None:
        return zoo.load_zoo(outline.name)
    if outline.onnx is not None:
        from equiaudit.models.onnx import load_onnx

        return load_onnx(outline.onnx)
    if outline.own is not None:
        from equiaudit.models.runtime_files import load_runtime_file

        return load_runtime_file(outline.own)
    if outline.kind == "folder":
        from equiaudit.models.folders import load_folder

        return load_folder(path)
    if outline.kind == "export":
        from equiaudit.models.exported import load_exported

        return load_exported(path, trust=outline.trust)
    if outline.kind == "torchscript":
        from equiaudit.models.torchscript import load_torchscript

        return load_torchscript(path, trust=outline.trust)
    return _from_weights(path, outline)


def _taking_float32(artefact: Artefact) -> Artefact:
    module = artefact.module
    dtype = None if module is None else own_dtype(module, artefact.takes)
    if module is None or dtype is None:
        return artefact
    said = f"computes in {str(dtype).removeprefix('torch.')}, and so are the images"
    return replace(artefact, module=InDtype(module, dtype), notes=(*artefact.notes, said))


def with_weights_dtype(artefact: Artefact) -> Hints:
    """The dtype of the weights is the input's, unless a source says otherwise."""
    parameters = artefact.module.parameters() if artefact.module is not None else iter(())
    if not any(p.dtype == torch.float16 for p in parameters):
        return artefact.hints
    half = {"dtype": Given("float16", "dtype of the weights")}
    return replace(artefact.hints, stated={**half, **artefact.hints.stated})


def _from_module(module: nn.Module) -> Artefact:
    return Artefact(
        name=type(module).__name__,
        kind="module",
        sha256=state_dict_sha256(module.state_dict()),
        module=module,
        eager=not isinstance(module, torch.jit.ScriptModule),
        hints=zoo.module_hints(module),
        notes=(_put_in_eval_mode(module),),
    )


def _put_in_eval_mode(module: nn.Module) -> str:
    """What was done, in words; the module of an exported program has no modes to change."""
    try:
        module.eval()
    except NotImplementedError:
        from equiaudit.models.exported import refuse_training_graph

        if isinstance(module, torch.fx.GraphModule):
            refuse_training_graph(module.graph, type(module).__name__)
        return "exported in eval mode"
    return "put in eval mode"


def _from_weights(path: Path, outline: Outline) -> Artefact:
    kind, arch, trust, wanted = outline.kind, outline.arch, outline.trust, outline.weights
    metadata: dict[str, str] = {}
    if kind == "safetensors":
        tensors, metadata = read_safetensors(path)
        saved = Unpickled(tensors)
    else:
        with zoo.own_modules():
            saved = read_checkpoint(path, trust=trust)
    taken = ""
    notes: tuple[str, ...] = ("put in eval mode",)
    if kind == "safetensors" and arch is None and is_converted(path):
        found: list[Weights] = []
        module: nn.Module = converted_graph(path, saved.value, trust=trust)
    else:
        found = found_weights(saved.value, what=str(path))
        module, taken, said = _module_for(found, saved, path, arch, wanted)
        notes += said
    pickled = any(isinstance(each.value, nn.Module) for each in found)
    digest = file_sha256(path)
    return Artefact(
        name=path.name,
        kind="module" if pickled else "state_dict",
        # Two sets of weights of one file are two models.
        sha256=text_sha256(f"{digest} {taken}") if taken else digest,
        path=path,
        module=module.eval(),
        eager=not isinstance(module, torch.jit.ScriptModule),
        hints=zoo.module_hints(module) if pickled else metadata_hints(metadata, path),
        class_names=names_in_mapping(metadata or saved.value),
        trusted=trust,
        notes=notes + (("unpickled with code (--trust)",) if trust else ()),
    )


def _module_for(
    found: list[Weights], saved: Unpickled, path: Path, arch: str | None, wanted: str | None
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The module, the name of its weights where there was a choice, and what to say."""
    chosen = choose_module(found, wanted, what=str(path))
    if chosen is not None:
        taken, said = chosen
        assert isinstance(taken.value, nn.Module)
        return taken.value, taken.name if said else "", (said,) if said else ()
    states = [each.value for each in found if not isinstance(each.value, nn.Module)]
    largest = max(states, key=len)
    stated = saved.value.get("arch")
    stated = stated if isinstance(stated, str) else None
    if arch is None:
        raise without_architecture(path, suggested_architecture(largest, arch, stated=stated))
    module = zoo.build_architecture(arch, states)
    try:
        name, notes = fit_weights(
            module, found, saved=saved.value, wanted=wanted, what=str(path), arch=arch
        )
    except DoesNotFit as misfit:
        tip = suggested_architecture(largest, arch, stated=stated) or misfit.tip or ""
        raise InputError(misfit.message, tip=tip) from misfit
    if saved.unread:
        notes += (f"beside the weights and not read: {', '.join(saved.unread[:_SHOWN])}",)
    return module, name, notes
