"""Checkpoints that `fix` wrote: X.safetensors with its graph X.graph.pt, named by X.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.errors import InputError
from equiaudit.models.hashing import file_sha256

if TYPE_CHECKING:
    import torch

_FORMAT = "equiaudit-graph"
_LARGEST_CONFIG = 1 << 20


def is_converted(path: Path) -> bool:
    """Whether a configuration beside the weights at `path` names the graph they belong to."""
    return _config(path) is not None


def converted_graph(
    path: Path, state: Mapping[str, torch.Tensor], *, trust: bool
) -> torch.jit.ScriptModule:
    """The graph that belongs to the weights at `path`, with `state` put in, in eval mode.

    Raises InputError where graph or weights are missing, were changed since they were
    written, or do not belong together.
    """
    import torch

    from equiaudit.models.torchscript import load_torchscript

    config = _config(path) or {}
    named = str(config.get("graph"))
    graph = path.parent / named
    if graph.name != named or not graph.is_file():
        raise InputError(
            f"{path.with_suffix('.json')} names the graph {named!r}, which is not"
            " a file beside it.",
            tip="Keep the files that were written together together.",
        )
    for file, stated in ((graph, "graph_sha256"), (path, "weights_sha256")):
        if file_sha256(file) != config.get(stated):
            raise InputError(
                f"{file} is not the file that {path.with_suffix('.json').name} describes.",
                tip="Copy the files again, together.",
            )
    module = load_torchscript(graph, trust=trust).module
    if not isinstance(module, torch.jit.ScriptModule):
        raise InputError(f"{graph} is not a TorchScript archive.")
    try:
        # The clones lie at aligned addresses; the last bits of a product depend on that.
        module.load_state_dict({name: t.clone() for name, t in state.items()}, assign=True)
    except RuntimeError as error:
        raise InputError(f"{path} does not hold the weights of {graph}.") from error
    return module


def _config(path: Path) -> dict[str, Any] | None:
    place = path.with_suffix(".json")
    try:
        if path.suffix == ".json" or place.stat().st_size > _LARGEST_CONFIG:
            return None
        config = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    named = isinstance(config, dict) and config.get("format") == _FORMAT
    return config if named and config.get("weights") == path.name else None
