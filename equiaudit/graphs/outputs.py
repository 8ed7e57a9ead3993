"""Which tensor of a model's output is the one that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import fx

from equiaudit.errors import InputError
from equiaudit.models.types import Layout, Model
from equiaudit.tasks import TASKS

__all__ = [
    "Threshold",
    "all_outputs",
    "channels_first",
    "graph_outputs",
    "label_threshold",
    "main_output",
    "main_output_name",
    "output_per_image",
    "relative_error",
]

Threshold = float | Literal["ids"] | None
"""Above it a single score or channel is another label; "ids" where it is the label itself, None
where it has none, as the values of images."""


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


def output_per_image(
    run: Callable[[torch.Tensor], object],
    batch: torch.Tensor,
    dense: bool,
    layout: Layout = "NCHW",
) -> torch.Tensor:
    """The main output of `run` for batch (N, C, H, W): (N, ...), with `dense` maps (N, C, h, w).

    `layout` is that of the maps as `run` returns them; those without channels get one.
    Raises InputError where it is something else.
    """
    output = main_output(run(batch))
    if not isinstance(output, torch.Tensor) or len(output) != len(batch):
        raise InputError("The model does not return one output per image.")
    if dense:
        output = channels_first(output, layout)
    if dense and output.dim() != 4:
        raise InputError(f"The model returns {output.dim()}-D outputs, which are not maps.")
    return output


def channels_first(output: torch.Tensor, layout: Layout) -> torch.Tensor:
    """A map of `layout`, or (N, h, w), as (N, C, h, w)."""
    if output.dim() == 3:
        return output.unsqueeze(1)
    return output.permute(0, 3, 1, 2) if layout == "NHWC" and output.dim() == 4 else output


def all_outputs(outputs: torch.Tensor | Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """A bare tensor as a list of one."""
    return [outputs] if isinstance(outputs, torch.Tensor) else outputs


def label_threshold(model: Model) -> Threshold:
    """How a single score or channel becomes a label, as in a scan."""
    if not TASKS[model.task].scores:
        return None
    if model.outputs_labels:
        return "ids"
    return 0.5 if model.outputs_probabilities else 0.0


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
