"""The table of translations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.values import Value

Translation: TypeAlias = Callable[[Call], Value | Sequence[Value]]
OPS: dict[str, Translation] = {}
CONTRIB: dict[str, Translation] = {}


def op(*names: str) -> Callable[[Translation], Translation]:
    """Register a translation for ONNX operators of the default domain."""

    def register(function: Translation) -> Translation:
        OPS.update(dict.fromkeys(names, function))
        return function

    return register


def contrib(*names: str) -> Callable[[Translation], Translation]:
    """Register a translation for operators of onnxruntime's own domain, com.microsoft."""

    def register(function: Translation) -> Translation:
        CONTRIB.update(dict.fromkeys(names, function))
        return function

    return register
