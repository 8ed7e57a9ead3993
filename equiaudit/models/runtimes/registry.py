"""The runtimes there are, by the names that `--backend` takes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from equiaudit.errors import InputError
from equiaudit.models.runtimes.base import Runtime
from equiaudit.registry import Registry

RUNTIMES: Registry[Runtime] = Registry(
    "runtime",
    {
        "onnxruntime": "equiaudit.models.runtimes.with_onnxruntime:RUNTIME",
        "openvino": "equiaudit.models.runtimes.with_openvino:RUNTIME",
    },
)

NATIVE: Mapping[str, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
"""The runtime that "auto" means for a kind of file."""


def installed(name: str) -> Runtime:
    """The runtime called `name`; InputError where its package is missing."""
    runtime = RUNTIMES.named(name)
    if find_spec(runtime.package) is None:
        raise InputError(
            f"{runtime.label} is not installed.",
            tip=f"pip install 'equiaudit[{runtime.extra}]'.",
        )
    return runtime
