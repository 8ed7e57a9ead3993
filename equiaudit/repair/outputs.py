"""Which tensor of a model's output is the one that counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

__all__ = ["graph_outputs", "main_output", "main_output_name"]


def graph_outputs(graph: fx.GraphModule) -> tuple[fx.Node, ...]:
    """What a graph returns, a tensor or a tuple of them, as nodes."""
    returned: Any = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    return tuple(returned) if isinstance(returned, tuple | list) else (returned,)


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
