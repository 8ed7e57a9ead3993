"""Audit vision models for shift consistency, and repair them.

The public names load on first use, so that `import equiaudit` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from equiaudit._version import __version__
from equiaudit.errors import EquiauditError, InputError, NothingToDo, RunError

if TYPE_CHECKING:
    from equiaudit.api.python import fix, inspect, load_model, scan, verify
    from equiaudit.comparison import compare
    from equiaudit.results import Estimate, Result, load_result

_LAZY = {
    "Estimate": "equiaudit.results",
    "Result": "equiaudit.results",
    "compare": "equiaudit.comparison",
    "fix": "equiaudit.api.python",
    "inspect": "equiaudit.api.python",
    "load_model": "equiaudit.api.python",
    "load_result": "equiaudit.results",
    "scan": "equiaudit.api.python",
    "verify": "equiaudit.api.python",
}

__all__ = [
    "EquiauditError",
    "Estimate",
    "InputError",
    "NothingToDo",
    "Result",
    "RunError",
    "__version__",
    "compare",
    "fix",
    "inspect",
    "load_model",
    "load_result",
    "scan",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'equiaudit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
