"""Commands as they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from equiaudit.cli.command import Call
from equiaudit.config import flag_name

__all__ = ["fixed_name", "spelled", "told_flags"]


def spelled(words: Iterable[str]) -> str:
    """A command ready to be pasted, without what is secret in its URLs."""
    from equiaudit.data import without_secrets

    return shlex.join(map(without_secrets, words))


def fixed_name(model: str, *, onnx: bool) -> str:
    """The file that a fix of `model` is proposed to write."""
    stem = Path(model.rpartition(":")[2]).stem or "model"
    return f"{stem}-fixed{'.onnx' if onnx else '.pt'}"


def told_flags(call: Call, names: Sequence[str]) -> Iterator[str]:
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
