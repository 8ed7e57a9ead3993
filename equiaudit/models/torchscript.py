"""TorchScript archives, traced or scripted."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from equiaudit.errors import InputError
from equiaudit.models.archives import check_torchscript_archive
from equiaudit.models.artefact import Artefact
from equiaudit.models.hashing import file_sha256
from equiaudit.models.stated import names_beside, script_hints
from equiaudit.torch_private import script_graphs

# The position of the training flag among the operator's inputs.
_MOVED = "what its code makes on a GPU is made on the CPU"
_MODE_INPUT = {"aten::batch_norm": 5, "aten::dropout": 2, "aten::feature_dropout": 2}


def load_torchscript(path: Path, *, trust: bool) -> Artefact:
    """The scripted module at `path`, in eval mode, on the CPU.

    Raises InputError where the archive is damaged, touches files, or was traced in training
    mode, which `.eval()` cannot undo.
    """
    archive = path.read_bytes()
    try:
        if not trust:
            check_torchscript_archive(archive, what=str(path))
        module = _loaded(archive).eval()
        moved = not torch.cuda.is_available() and _move_constants(module)
        _refuse_training_trace(module, path)
        hints = script_hints(path)
    except InputError:
        raise
    except Exception as error:  # damaged pickles and code raise nearly anything
        raise InputError(
            f"{path} is a damaged TorchScript archive, or one of another version of torch.",
            tip="Copy it again, or save it again with this version.",
        ) from error
    return Artefact(
        name=path.name,
        kind="torchscript",
        sha256=file_sha256(path),
        path=path,
        module=module,
        hints=hints,
        class_names=names_beside(path),
        trusted=trust,
        notes=("put in eval mode", *((_MOVED,) if moved else ())),
    )


def _move_constants(module: torch.jit.ScriptModule) -> bool:
    """Tensors that the code makes on a GPU are made on the CPU; whether there were any."""
    moved = False
    for graph in script_graphs(module):
        for node in graph.findAllNodes("prim::Constant", recurse=True):
            is_device = str(node.output().type()) == "Device"
            if is_device and node.s("value").startswith("cuda"):
                node.s_("value", "cpu")
                moved = True
    return moved


def _loaded(archive: bytes) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the archives are not gone
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(archive), map_location="cpu"
        )
    return module


def _refuse_training_trace(module: torch.jit.ScriptModule, path: Path) -> None:
    graph: Any = module.inlined_graph  # its nodes live as long as it does
    for kind, position in _MODE_INPUT.items():
        for node in graph.findAllNodes(kind, recurse=True):
            if list(node.inputs())[position].toIValue() is True:
                raise InputError(
                    f"{path} was traced in training mode ({kind} is fixed to training).",
                    tip="Call model.eval() and trace it again.",
                )
