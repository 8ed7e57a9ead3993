"""Checkpoints and safetensors: from a file to a state dict, and from there into a module.

Unpickling runs with `weights_only=True`, which builds tensors and plain containers and calls
nothing else, and after `check_pickle` has said that it will end; only `trust` lifts that.
"""

from __future__ import annotations

import io
import mmap
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
from equiaudit.models.pickles import check_pickle, check_pickles
from equiaudit.models.zips import is_zip, zip_names

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
# Magic number, version, system, the value itself and the keys of its storages.
_LEGACY_PICKLES = 5
_MOST_WRAPPERS = 8
_LARGEST_HEADER = 8 << 20  # bytes; about a hundred for each tensor
_CLAIM = 1 << 20  # bytes a tensor may claim by repeating what the file holds
_LONGEST_NAME = 60
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


def load_weights_only(source: Path | bytes, *, what: str) -> Any:
    """`torch.load` without code; InputError naming `what` and the global it wants."""
    try:
        _check_pickles(source, what)
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, which decide nothing here
            mapped = isinstance(source, Path) and zipfile.is_zipfile(source)
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except InputError:
        raise
    except Exception as error:  # damaged pickles raise nearly anything
        raise _refusal(error, what) from error


def _check_pickles(source: Path | bytes, what: str) -> None:
    """Check what torch will unpickle of a file, read the way torch reads it."""
    if isinstance(source, bytes):
        _check_content(source, io.BytesIO(source), what)
        return
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_content(content, file, what)


def _check_content(content: bytes | mmap.mmap, file: IO[bytes], what: str) -> None:
    if not is_zip(content[:4]):
        check_pickles(content, _LEGACY_PICKLES, what=what)
        return
    zip_names(file, what=what)
    file.seek(0)
    reader = torch._C.PyTorchFileReader(file)
    check_pickle(bytes(reader.get_record("data.pkl")), what=what)


def _refusal(error: Exception, what: str) -> InputError:
    found = _REFUSED_GLOBAL.search(str(error))
    if found:
        return InputError(
            f"{what} needs code to unpickle ({_short(found[1])}), which was not run.",
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
    with path.open("rb") as head:
        if int.from_bytes(head.read(8), "little") > _LARGEST_HEADER:
            raise InputError(
                f"{path} has a header of more than {_LARGEST_HEADER >> 20} MiB, as no file of"
                " weights has."
            )
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

    Raises InputError where `saved` holds none, or one of its tensors is no array of numbers
    that the file holds.
    """
    inner = saved
    for _ in range(_MOST_WRAPPERS):
        if _is_state_dict(inner):
            _check_tensors(inner, what)
            return _without_wrapper_prefixes(inner)
        inner = _wrapped(inner)
    raise InputError(
        f"{what} holds no state dict (found {_described(saved)}).",
        tip='Save the weights with torch.save(model.state_dict(), "weights.pt").',
    )


def _is_state_dict(saved: Any) -> bool:
    return (
        isinstance(saved, Mapping)
        and bool(saved)
        and all(isinstance(key, str) for key in saved)
        and all(isinstance(value, Tensor) for value in saved.values())
    )


def _wrapped(saved: Any) -> Any:
    inside = (saved.get(key) for key in _WRAPPERS) if isinstance(saved, Mapping) else ()
    return next((value for value in inside if isinstance(value, Mapping)), None)


def _check_tensors(state: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise InputError(
                f"{_short(name)} in {what} is not a plain tensor.",
                tip="Save dense tensors of the CPU.",
            )
        claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if claimed > max(held, _CLAIM):
            raise InputError(
                f"{_short(name)} in {what} claims {claimed:,} bytes, and the file holds {held:,}.",
                tip="Save it again with tensor.contiguous().",
            )


def _described(saved: Any) -> str:
    if isinstance(saved, Mapping):
        keys = ", ".join(_short(str(key)) for key in list(saved)[:5])
        return f"a dict with the keys {keys}" if keys else "an empty dict"
    return f"an object of type {type(saved).__name__}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _without_wrapper_prefixes(state: Mapping[str, Tensor]) -> StateDict:
    """DataParallel's `module.` and torch.compile's `_orig_mod.`, on every name or none."""
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), None):
        state = _stripped(state, prefix)
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
    return f"{len(keys)} {what} ({', '.join(map(_short, keys[:_SHOWN]))}{rest})"


def _shapes(key: str, state: StateDict, own: Mapping[str, Tensor]) -> str:
    in_file, in_net = ("x".join(map(str, t.shape)) or "scalar" for t in (state[key], own[key]))
    return f"{_short(key)} is {in_file} in the file and {in_net} in the architecture"
