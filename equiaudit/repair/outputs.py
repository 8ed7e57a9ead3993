"""Which tensor of a model's output is the one that counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["main_output", "main_output_name"]


def main_output(output: Any) -> Any:
    """The tensor (or leaf) that counts: entry "out" of a mapping, else the first one."""
    while not _is_leaf(output):
        output = output[_key(output)]
    return output


def main_output_name(output: Any) -> str | None:
    """The name or index of the entry that `main_output` takes; None for a bare tensor."""
    return None if _is_leaf(output) else str(_key(output))


def _is_leaf(output: Any) -> bool:
    return not (isinstance(output, Mapping | tuple | list) and output)


def _key(output: Any) -> Any:
    if not isinstance(output, Mapping):
        return 0
    return "out" if "out" in output else next(iter(output))
