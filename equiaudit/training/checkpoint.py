"""The state of a training, kept after every epoch in one safetensors file.

Its tensors are those of `State`; a JSON record in its metadata says which run they belong to
and how far it had come. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from equiaudit.errors import RunError

_KEY = "equiaudit_training"
_SEPARATOR = "/"


@dataclass(frozen=True)
class State:
    """Where a training stood at the end of an epoch."""

    run: str
    """Fingerprint of the nets, the images and the recipe."""
    stage: str
    epoch: int
    """Epochs of that stage that were done."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """Group ("weights", "average", ...) -> name -> tensor."""
    numbers: Mapping[str, Any]
    """The rest, as JSON."""


def store(state: State, path: Path) -> None:
    """Write beside `path` and rename. RunError where that cannot be done."""
    record = {k: getattr(state, k) for k in ("run", "stage", "epoch", "numbers")}
    flat = {
        f"{group}{_SEPARATOR}{name}": tensor.detach().cpu().contiguous().clone()
        for group, tensors in state.tensors.items()
        for name, tensor in tensors.items()
    }
    draft = path.with_name(f".{path.name}.tmp")
    try:
        safetensors.torch.save_file(flat, draft, metadata={_KEY: json.dumps(record)})
        os.replace(draft, path)
    except OSError as error:
        raise RunError(f"The checkpoint {path} cannot be written: {error.strerror}.") from error


def load(path: Path, run: str) -> State | None:
    """The state at `path`; None where there is none, it is damaged, or it is of another run."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            if record.get("run") != run:
                return None
            groups: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 - not a mapping
                group, _, name = key.partition(_SEPARATOR)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (OSError, ValueError, safetensors.SafetensorError):
        return None
    return State(run, record["stage"], record["epoch"], groups, record["numbers"])


def discard(path: Path | None) -> None:
    """Remove a checkpoint that is no longer needed."""
    if path is not None:
        path.unlink(missing_ok=True)
