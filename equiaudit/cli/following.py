"""The command that comes next, ready to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.cli.command import Call
from equiaudit.cli.fix import DATA_FLAGS
from equiaudit.cli.inspect import LAYING_FLAGS, MODEL_FLAGS
from equiaudit.config import flag_name

if TYPE_CHECKING:
    from equiaudit.results import Result


def after_scan(result: Result, model: str, data: str, call: Call) -> str:
    """How to repair what the scan found, with what the command line says of model and data.

    "" where shifts change nothing, and where the images are sequences, which fix does not read.
    """
    from equiaudit.data import without_secrets
    from equiaudit.report.findings import changes

    if call.settings.protocol == "caps" or not changes(result):
        return ""
    told = _told(call, (*MODEL_FLAGS, *DATA_FLAGS))
    onnx = result.fingerprint.model_kind == "onnx"
    stem = Path(model.rpartition(":")[2]).stem or "model"
    fixed = f"{stem}-fixed{'.onnx' if onnx else '.pt'}"
    # Where rolls change nothing, what is left is at the border.
    how = () if changes(result, probes=True) else ("--method", "crop-select")
    command = ("equiaudit", "fix", model, "-o", fixed, *how, "--data", data, *told)
    return shlex.join(map(without_secrets, command))


def after_inspect(model: str, data: str | None, fixable: bool, call: Call) -> str:
    """The fix of a net that can be converted; of another one by a method that needs no graph."""
    from equiaudit.data import without_secrets

    onnx = Path(model).suffix.lower() == ".onnx"
    stem = Path(model.rpartition(":")[2]).stem or "model"
    fixed = f"{stem}-fixed{'.onnx' if onnx else '.pt'}"
    how = () if fixable else ("--method", "canonical")
    images = ("--data", data or "DIR")
    told = _told(call, (*MODEL_FLAGS, *(LAYING_FLAGS if data else ())))
    command = ("equiaudit", "fix", model, "-o", fixed, *how, *images, *told)
    return shlex.join(map(without_secrets, command))


def _told(call: Call, names: Sequence[str]) -> Iterator[str]:
    """What the command line says of these settings."""
    for name in dict.fromkeys(names):
        if name in call.given:
            yield from _flags(name, getattr(call.settings, name))


def _flags(name: str, value: Any) -> Iterator[str]:
    flag = f"--{flag_name(name)}"
    if isinstance(value, bool):
        yield flag if value else f"--no-{flag_name(name)}"
    elif name == "input":
        for each in value:
            yield from (flag, each)
    elif isinstance(value, tuple):
        between = "x" if name in ("size", "stride") else ","
        # With "=", since a list may begin with a minus.
        yield f"{flag}={between.join(f'{n:g}' if isinstance(n, float) else str(n) for n in value)}"
    else:
        yield from (flag, str(value))
