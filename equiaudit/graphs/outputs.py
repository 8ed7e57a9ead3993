"""What a model returns: its tensors by name, and the one that counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx


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


def named_tensors(returned: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in a nest of tuples, lists, dicts and dataclasses, by its dotted path."""
    if isinstance(returned, torch.Tensor):
        yield prefix, returned
        return
    for key, value in _children(returned):
        yield from named_tensors(value, f"{prefix}.{key}" if prefix else str(key))


def _children(returned: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(returned, Mapping):
        yield from returned.items()
    elif hasattr(returned, "_fields"):
        yield from zip(returned._fields, returned, strict=True)
    elif isinstance(returned, tuple | list):
        yield from enumerate(returned)
    elif dataclasses.is_dataclass(returned):
        yield from ((f.name, getattr(returned, f.name)) for f in dataclasses.fields(returned))


def all_outputs(outputs: torch.Tensor | Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """A bare tensor as a list of one."""
    return [outputs] if isinstance(outputs, torch.Tensor) else outputs


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the range of `expected`; 0 means equal bits."""
    if torch.equal(actual, expected):
        return 0.0
    wide = expected.double()
    spread = (wide.max() - wide.min()).item()
    return float((actual.double() - wide).abs().max().item() / spread) if spread else float("inf")


def _is_leaf(output: Any) -> bool:
    return not (isinstance(output, Mapping | tuple | list) and output)


def _key(output: Any) -> Any:
    if not isinstance(output, Mapping):
        return 0
    return "out" if "out" in output else next(iter(output))
