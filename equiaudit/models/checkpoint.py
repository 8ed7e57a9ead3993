"""Checkpoints and safetensors: from a file to a state dict, and from there into a module.

Unpickling runs with `weights_only=True`, which builds tensors and plain containers and calls
nothing else; only `trust` lifts that.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from equiaudit.errors import InputError

__all__ = [
    "fit_state_dict",
    "load_weights_only",
    "read_checkpoint",
    "read_safetensors",
    "unwrap_state_dict",
]

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
_PREFIXES = ("module.", "_orig_mod.")
_OUTER_NAMES = ("model.", "net.", "network.")
_SHOWN = 3
_REFUSED_GLOBAL = re.compile(r"(?:unsupported|Unsupported global:) GLOBAL ([\w.]+)")


def read_checkpoint(path: Path, *, trust: bool) -> Any:
    """What was saved at `path`: a (wrapped) state dict, or any object with `trust`.

    Raises InputError where the file is damaged, or needs code and `trust` is not given.
    """
    if not trust:
        return load_weights_only(path, what=str(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a trusted pickle runs the file's own code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be unpickled: {reason}.") from error


def load_weights_only(source: Path | IO[bytes], *, what: str) -> Any:
    """`torch.load` without code; InputError naming `what` and the global it wants."""
    mmap = isinstance(source, Path) and zipfile.is_zipfile(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, which decide nothing here
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # damaged pickles raise nearly anything
        raise _refusal(error, what) from error


def _refusal(error: Exception, what: str) -> InputError:
    found = _REFUSED_GLOBAL.search(str(error))
    if found:
        return InputError(
            f"{what} needs code to unpickle ({found[1]}), which was not run.",
            tip="Save a state dict instead, or pass --trust if you trust its author.",
        )
    if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error):
        return InputError(
            f"{what} needs more than tensors and containers to unpickle, which was not run.",
            tip="Save a state dict instead, or pass --trust if you trust its author.",
        )
    return InputError(
        f"{what} is a damaged or truncated checkpoint.", tip="Copy or download it again."
    )


def read_safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    """The tensors and the metadata of a safetensors file; InputError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is a damaged or truncated safetensors file.", tip="Copy or download it again."
        ) from error


def unwrap_state_dict(saved: Any, *, what: str) -> StateDict:
    """The state dict inside the usual wrappers, without the prefixes wrappers add to names.

    Raises InputError where `saved` holds none.
    """
    if isinstance(saved, Mapping):
        if saved and all(isinstance(value, Tensor) for value in saved.values()):
            return _without_wrapper_prefixes(saved)
        for key in _WRAPPERS:
            if isinstance(saved.get(key), Mapping):
                return unwrap_state_dict(saved[key], what=what)
    raise InputError(
        f"{what} holds no state dict (found {_described(saved)}).",
        tip='Save the weights with torch.save(model.state_dict(), "weights.pt").',
    )


def _described(saved: Any) -> str:
    if isinstance(saved, Mapping):
        keys = ", ".join(map(str, list(saved)[:5]))
        return f"a dict with the keys {keys}" if keys else "an empty dict"
    return f"an object of type {type(saved).__name__}"


def _without_wrapper_prefixes(state: Mapping[str, Tensor]) -> StateDict:
    """DataParallel's `module.` and torch.compile's `_orig_mod.`, on every name or none."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_wrapper_prefixes(_stripped(state, prefix))
    return dict(state)


def _stripped(state: Mapping[str, Tensor], prefix: str) -> StateDict:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def fit_state_dict(module: nn.Module, state: StateDict, *, what: str, arch: str) -> None:
    """Load `state` into `module` strictly.

    Raises InputError that counts and names the keys that are missing, unexpected or of
    another shape.
    """
    state = _as_named_in(module, state)
    own = module.state_dict()
    reshaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    fitting = {key: tensor for key, tensor in state.items() if key not in reshaped}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = module.load_state_dict(fitting, strict=False)
    missing = [key for key in outcome.missing_keys if key not in reshaped]
    differences = [
        _difference("missing from the file", missing),
        _difference("not in the architecture", outcome.unexpected_keys),
        _difference("of another shape", [_shapes(key, state, own) for key in reshaped]),
    ]
    if any(differences):
        raise InputError(
            f"{what} does not fit {arch}: {'; '.join(filter(None, differences))}.",
            tip="Give the --arch the weights were trained with.",
        )


def _as_named_in(module: nn.Module, state: StateDict) -> StateDict:
    """Names without the attribute a training wrapper keeps the net under, where that fits."""
    own = module.state_dict()
    for prefix in _OUTER_NAMES:
        if all(name.startswith(prefix) for name in state) and not any(
            name.startswith(prefix) for name in own
        ):
            return _stripped(state, prefix)
    return state


def _difference(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{rest})"


def _shapes(key: str, state: StateDict, own: Mapping[str, Tensor]) -> str:
    in_file, in_net = ("x".join(map(str, t.shape)) or "scalar" for t in (state[key], own[key]))
    return f"{key} is {in_file} in the file and {in_net} in the architecture"
