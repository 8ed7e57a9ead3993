"""The engine of `inspect`, `verify` and `fix`; its names load torch when first asked for.

`pipeline` chains the steps. From the top down:

| part | what it holds |
|---|---|
| `methods` | what `--method` names, and what methods take and give |
| `verify` | checks, and the one loop behind them |
| `save` | nets as files of every kind, written, loaded again and compared |
| `rewrite` | an analysed graph -> an equivariant one; `rewrite.rules` has a rule per operation |
| `canonical` | the roll of the input, written into archives and ONNX files |
| `onnx` | ONNX files as torch graphs, and exported graphs with the borders of such a file |
| `outputs` | all outputs of a model: run, watched under shifts, and what each of them is |

The graphs themselves are `equiaudit.graphs`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equiaudit.repair.inspection import inspect
    from equiaudit.repair.methods.converted import Recover
    from equiaudit.repair.options import FixOptions, checked_out, checked_target
    from equiaudit.repair.pipeline import checked_request, fix, verify_model

_HOME = {
    "FixOptions": "equiaudit.repair.options",
    "Recover": "equiaudit.repair.methods.converted",
    "checked_request": "equiaudit.repair.pipeline",
    "checked_out": "equiaudit.repair.options",
    "checked_target": "equiaudit.repair.options",
    "fix": "equiaudit.repair.pipeline",
    "inspect": "equiaudit.repair.inspection",
    "verify_model": "equiaudit.repair.pipeline",
}

__all__ = [
    "FixOptions",
    "Recover",
    "checked_out",
    "checked_request",
    "checked_target",
    "fix",
    "inspect",
    "verify_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
