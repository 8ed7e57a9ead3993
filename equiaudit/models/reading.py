"""From a path, a zoo name or a module to an `Artefact`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from equiaudit.errors import InputError
from equiaudit.models import zoo
from equiaudit.models.artefact import Artefact
from equiaudit.models.checkpoint import Saved, read_checkpoint, read_safetensors
from equiaudit.models.converted import converted_graph, is_converted
from equiaudit.models.fitting import Misfit, fit_weights
from equiaudit.models.hashing import file_sha256, state_dict_sha256, text_sha256
from equiaudit.models.preprocess import PREPROCESS_KEY, Hints, parse_preprocess
from equiaudit.models.sniff import FileKind, sniff
from equiaudit.models.suggesting import suggested_architecture
from equiaudit.models.torch_input import InDtype, own_dtype
from equiaudit.models.weights import Weights, choose_module, found_weights

__all__ = ["needs_arch", "read_artefact"]

_SHOWN = 3
_ARCH_TIP = "Add --arch torchvision:NAME, timm:NAME or pkg.module:factory."


def read_artefact(
    spec: str | Path | nn.Module,
    *,
    arch: str | None,
    trust: bool,
    weights: str | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Artefact:
    """What `spec` names, read, checked and in eval mode, on the CPU.

    `weights` says which set of weights of a checkpoint; `inputs` are values for the inputs of
    an ONNX file that are not the image. Raises InputError where `spec` is not a model, is
    damaged, needs code, or does not fit `arch`.
    """
    if not isinstance(spec, str | Path | nn.Module):
        raise InputError(
            f"A model is a path, a name or a torch.nn.Module, not {type(spec).__name__}."
        )
    if inputs and (not isinstance(spec, str | Path) or not _is_onnx(spec)):
        raise InputError("--input gives values to inputs of ONNX files, which this model is not.")
    return _taking_float32(_read(spec, arch, trust, weights, inputs or {}))


def _read(
    spec: str | Path | nn.Module,
    arch: str | None,
    trust: bool,
    weights: str | None,
    inputs: Mapping[str, str],
) -> Artefact:
    if isinstance(spec, nn.Module):
        return _from_module(spec)
    if weights is not None and not needs_arch(spec):
        raise InputError(f"{spec} holds one set of weights.", tip="Leave --weights out.")
    if isinstance(spec, str) and zoo.is_zoo_name(spec):
        if arch is not None:
            raise InputError(f"{spec} names its own architecture.", tip="Leave --arch out.")
        return zoo.load_zoo(spec)
    path = Path(spec)
    if path.is_dir():
        from equiaudit.models.folders import load_folder

        if arch is not None:
            raise InputError(f"{path} names its own architecture.", tip="Leave --arch out.")
        return load_folder(path)
    kind = sniff(path)
    if kind in ("checkpoint", "safetensors"):
        return _from_weights(path, kind, arch, trust, weights)
    if arch is not None:
        raise InputError(f"{path} carries its own architecture.", tip="Leave --arch out.")
    return _from_archive(path, kind, trust, inputs)


def _taking_float32(artefact: Artefact) -> Artefact:
    module = artefact.module
    dtype = None if module is None else own_dtype(module, artefact.takes)
    if module is None or dtype is None:
        return artefact
    said = f"computes in {str(dtype).removeprefix('torch.')}, and so are the images"
    return replace(artefact, module=InDtype(module, dtype), notes=(*artefact.notes, said))


def _is_onnx(spec: str | Path) -> bool:
    path = Path(spec)
    return not zoo.is_zoo_name(str(spec)) and not path.is_dir() and sniff(path) == "onnx"


def needs_arch(spec: str | Path) -> bool:
    """Whether `spec` is a file of bare weights, which belong to an architecture."""
    if zoo.is_zoo_name(str(spec)):
        return False
    path = Path(spec)
    if path.is_dir():
        return False
    return sniff(path) in ("checkpoint", "safetensors") and not is_converted(path)


def _from_archive(path: Path, kind: FileKind, trust: bool, inputs: Mapping[str, str]) -> Artefact:
    """Each loader imports what only it needs: onnxruntime, torch.export."""
    if kind == "onnx":
        from equiaudit.models.onnx import load_onnx

        return load_onnx(path, inputs)
    if kind == "export":
        from equiaudit.models.exported import load_exported

        return load_exported(path, trust=trust)
    from equiaudit.models.torchscript import load_torchscript

    return load_torchscript(path, trust=trust)


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


def _from_weights(
    path: Path, kind: FileKind, arch: str | None, trust: bool, wanted: str | None
) -> Artefact:
    metadata: dict[str, str] = {}
    if kind == "safetensors":
        tensors, metadata = read_safetensors(path)
        saved = Saved(tensors)
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
        hints=_weights_hints(metadata, path, module if pickled else None),
        trusted=trust,
        notes=notes + (("unpickled with code (--trust)",) if trust else ()),
    )


def _module_for(
    found: list[Weights], saved: Saved, path: Path, arch: str | None, wanted: str | None
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
        tip = suggested_architecture(largest, arch, stated=stated) or _ARCH_TIP
        raise InputError(f"{path} holds weights without an architecture.", tip=tip)
    module = zoo.build_architecture(arch, states)
    try:
        name, notes = fit_weights(
            module, found, saved=saved.value, wanted=wanted, what=str(path), arch=arch
        )
    except Misfit as misfit:
        tip = suggested_architecture(largest, arch, stated=stated) or misfit.tip or ""
        raise InputError(misfit.message, tip=tip) from misfit
    if saved.unread:
        notes += (f"beside the weights and not read: {', '.join(saved.unread[:_SHOWN])}",)
    return module, name, notes


def _weights_hints(metadata: dict[str, str], path: Path, pickled: nn.Module | None) -> Hints:
    if PREPROCESS_KEY in metadata:
        where = f"the metadata of {path}"
        return Hints(
            parse_preprocess(metadata[PREPROCESS_KEY], where=where, source="safetensors metadata")
        )
    return zoo.module_hints(pickled) if pickled is not None else Hints()
