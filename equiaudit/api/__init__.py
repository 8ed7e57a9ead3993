"""The verbs as functions: what the command line calls and what a test imports.

Each loads what it needs when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equiaudit.api.loading import load_model
    from equiaudit.api.repairing import fix, inspect, verify
    from equiaudit.api.scanning import scan

_HOME = {
    "fix": "repairing",
    "inspect": "repairing",
    "load_model": "loading",
    "scan": "scanning",
    "verify": "repairing",
}

__all__ = ["fix", "inspect", "load_model", "scan", "verify"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"equiaudit.api.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
