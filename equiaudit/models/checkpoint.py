"""Checkpoints and safetensors: from a file to what was saved in it.

Unpickling runs with `weights_only=True`, which builds tensors and plain containers and calls
nothing else, and after `check_pickle` has said that it will end; only `trust` lifts that.
Frameworks keep objects of their own beside the weights: settings, histories. In a checkpoint
these become empty placeholders: nothing is imported for them and none of their code runs.
"""

from __future__ import annotations

import io
import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open

from equiaudit.errors import InputError
from equiaudit.models.pickles import check_pickle, check_pickles
from equiaudit.models.weights import StateDict, is_average, short
from equiaudit.models.zips import is_zip, zip_names
from equiaudit.torch_private import archive_reader

# Magic number, version, system, the value itself and the keys of its storages.
_LEGACY_PICKLES = 5
_LARGEST_HEADER = 8 << 20  # bytes; about a hundred for each tensor
_REFUSED_GLOBAL = re.compile(r"(?:unsupported|Unsupported global:) GLOBAL ([\w.]+)")
_MOST_PLACEHOLDERS = 200
# What nobody keeps beside weights but to have it run.
_NEVER = re.compile(
    r"(?:nt|os|posix|sys|subprocess|shutil|socket|runpy|ctypes|importlib|pickle|pty|webbrowser)\."
    r"|(?:builtins|__builtin__)\.(?:eval|exec|compile|__import__|open|breakpoint|input)$"
)
_NEW_NAMES = {"__builtin__.": "builtins.", "copy_reg.": "copyreg."}
_WEIGHTS = frozenset(
    {"state_dict", "model_state_dict", "model", "net", "network", "module", "weights"}
)


@dataclass(frozen=True)
class Unpickled:
    """What a checkpoint holds."""

    value: Any
    unread: tuple[str, ...] = ()
    """The classes and functions that placeholders stand for."""


class _Placeholder:
    """Takes whatever an unpickler hands to an object, and keeps none of it."""

    name = ""
    used: set[str] = set()  # noqa: RUF012

    def __new__(cls, *_: Any, **__: Any) -> _Placeholder:
        cls.used.add(cls.name)
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...


def read_checkpoint(path: Path, *, trust: bool) -> Unpickled:
    """What was saved at `path`: weights among containers, or any object with `trust`.

    Raises InputError where the file is damaged, or its weights need code and `trust` is not
    given.
    """
    if not trust:
        return _read_without_code(path)
    try:
        return Unpickled(torch.load(path, map_location="cpu", weights_only=False))
    except Exception as error:  # a trusted pickle runs the file's own code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be unpickled: {reason}.") from error


def _read_without_code(path: Path) -> Unpickled:
    try:
        return Unpickled(load_weights_only(path, what=str(path)))
    except InputError as refusal:
        if not isinstance(refusal.__cause__, pickle.UnpicklingError):
            raise
        saved = _with_placeholders(path)
        if saved is None:
            raise
        return saved


def _with_placeholders(path: Path) -> Unpickled | None:
    """What was saved beside objects that need code; None where the weights do themselves."""
    names = _check_pickles(path, str(path))
    if len(names) > _MOST_PLACEHOLDERS or any(map(_NEVER.match, names)):
        return None
    used: set[str] = set()
    stand_ins: list[Any] = [
        (type("_Unread", (_Placeholder,), {"name": name, "used": used}), spelling)
        for name in names
        for spelling in _spellings(name)
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            value = load_weights_only(path, what=str(path))
    except InputError:
        return None
    return None if _lacks_weights(value) else Unpickled(value, tuple(sorted(used)))


def _spellings(name: str) -> Iterable[str]:
    yield name
    yield from (
        name.replace(old, new, 1) for old, new in _NEW_NAMES.items() if name.startswith(old)
    )


def _lacks_weights(value: Any) -> bool:
    """Whether a placeholder stands where the model or an average of it would."""
    if not isinstance(value, Mapping):
        return True
    return any(
        isinstance(item, _Placeholder) and (key in _WEIGHTS or is_average(str(key)[:100]))
        for key, item in value.items()
    )


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


def _check_pickles(source: Path | bytes, what: str) -> frozenset[str]:
    """Check what torch will unpickle of a file, read the way torch reads it; the globals named."""
    if isinstance(source, bytes):
        return _check_content(source, io.BytesIO(source), what)
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _check_content(content, file, what)


def _check_content(content: bytes | mmap.mmap, file: IO[bytes], what: str) -> frozenset[str]:
    if not is_zip(content[:4]):
        return check_pickles(content, _LEGACY_PICKLES, what=what)
    zip_names(file, what=what)
    file.seek(0)
    reader = archive_reader(file)
    return check_pickle(bytes(reader.get_record("data.pkl")), what=what).names


def _refusal(error: Exception, what: str) -> InputError:
    found = _REFUSED_GLOBAL.search(str(error))
    if found:
        return InputError(
            f"{what} needs code to unpickle ({short(found[1])}), which was not run.",
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
