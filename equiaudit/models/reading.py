"""From a path, a zoo name or a module to an `Artefact`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.errors import InputError
from equiaudit.models import zoo
from equiaudit.models.artefact import Artefact
from equiaudit.models.checkpoint import (
    fit_state_dict,
    read_checkpoint,
    read_safetensors,
    unwrap_state_dict,
)
from equiaudit.models.converted import converted_graph, is_converted
from equiaudit.models.hashing import file_sha256, state_dict_sha256
from equiaudit.models.preprocess import PREPROCESS_KEY, Hints, parse_preprocess
from equiaudit.models.sniff import FileKind, sniff
from equiaudit.models.torch_input import InDtype, own_dtype

__all__ = ["needs_arch", "read_artefact"]

_ARCH_TIP = "Add --arch torchvision:NAME, timm:NAME or pkg.module:factory."


def read_artefact(
    spec: str | Path | nn.Module,
    *,
    arch: str | None,
    trust: bool,
    inputs: Mapping[str, str] | None = None,
) -> Artefact:
    """What `spec` names, read, checked and in eval mode, on the CPU.

    `inputs` are values for the inputs of an ONNX file that are not the image.
    Raises InputError where it is not a model, is damaged, needs code, or does not fit `arch`.
    """
    if inputs and (not isinstance(spec, str | Path) or not _is_onnx(spec)):
        raise InputError("--input gives values to inputs of ONNX files, which this model is not.")
    return _taking_float32(_read(spec, arch, trust, inputs))


def _read(
    spec: str | Path | nn.Module, arch: str | None, trust: bool, inputs: Mapping[str, str] | None
) -> Artefact:
    if isinstance(spec, nn.Module):
        return _from_module(spec)
    if isinstance(spec, str) and zoo.is_zoo_name(spec):
        if arch is not None:
            raise InputError(f"{spec} names its own architecture.", tip="Leave --arch out.")
        return zoo.load_zoo(spec)
    path = Path(spec)
    kind = sniff(path)
    if kind in ("checkpoint", "safetensors"):
        return _from_weights(path, kind, arch, trust)
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
    return not zoo.is_zoo_name(str(spec)) and sniff(Path(spec)) == "onnx"


def needs_arch(spec: str | Path) -> bool:
    """Whether `spec` is a file of bare weights, which belong to an architecture."""
    if zoo.is_zoo_name(str(spec)):
        return False
    path = Path(spec)
    return sniff(path) in ("checkpoint", "safetensors") and not is_converted(path)


def _from_archive(
    path: Path, kind: FileKind, trust: bool, inputs: Mapping[str, str] | None
) -> Artefact:
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


def _from_weights(path: Path, kind: FileKind, arch: str | None, trust: bool) -> Artefact:
    metadata: dict[str, str] = {}
    saved: Any
    if kind == "safetensors":
        saved, metadata = read_safetensors(path)
    else:
        with zoo.own_modules():
            saved = read_checkpoint(path, trust=trust)
    pickled = _pickled_module(saved)
    if kind == "safetensors" and arch is None and is_converted(path):
        module: nn.Module = converted_graph(path, saved, trust=trust)
    elif pickled is None:
        module = _module_for(unwrap_state_dict(saved, what=str(path)), path, arch)
    else:
        module = pickled
    return Artefact(
        name=path.name,
        kind="state_dict" if pickled is None else "module",
        sha256=file_sha256(path),
        path=path,
        module=module.eval(),
        eager=not isinstance(module, torch.jit.ScriptModule),
        hints=_weights_hints(metadata, path, pickled),
        trusted=trust,
        notes=("put in eval mode",) + (("unpickled with code (--trust)",) if trust else ()),
    )


def _pickled_module(saved: Any) -> nn.Module | None:
    """A whole module, as `torch.save(model)` writes it, bare or under the key "model"."""
    found = saved.get("model") if isinstance(saved, dict) else saved
    return found if isinstance(found, nn.Module) else None


def _module_for(state: dict[str, Tensor], path: Path, arch: str | None) -> nn.Module:
    if arch is None:
        raise InputError(f"{path} holds weights without an architecture.", tip=_ARCH_TIP)
    module = zoo.build_architecture(arch, state)
    fit_state_dict(module, state, what=str(path), arch=arch)
    return module


def _weights_hints(metadata: dict[str, str], path: Path, pickled: nn.Module | None) -> Hints:
    if PREPROCESS_KEY in metadata:
        where = f"the metadata of {path}"
        return Hints(
            parse_preprocess(metadata[PREPROCESS_KEY], where=where, source="safetensors metadata")
        )
    return zoo.module_hints(pickled) if pickled is not None else Hints()
