"""Capture: a module of several outputs as one graph that returns all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo, first_line
from equiaudit.graphs.outputs import relative_error
from equiaudit.graphs.quiet import quiet
from equiaudit.graphs.routes import convert_torchscript, export_eager, retrace_torchscript
from equiaudit.models.outputs import named_tensors
from equiaudit.models.types import Preprocess

__all__ = ["capture_every_output", "sample_of"]

_BATCHES = (7, 3)
"""Of the sample that the graph is recorded with, and of the one it is checked on."""
_TOLERANCE = 1e-6
Route = Callable[[torch.Tensor], fx.GraphModule]


def sample_of(how: Preprocess, count: int, seed: int = 0) -> torch.Tensor:
    """Noise as a batch (count, C, H, W) of the model's dtype."""
    shape = (count, how.planes, *how.size)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(getattr(torch, how.dtype))


def capture_every_output(module: nn.Module, how: Preprocess) -> fx.GraphModule:
    """`module` on the CPU as a graph of any batch size, its outputs in a tuple where several.

    Raises NothingToDo where it cannot be exported, or returns something else as a graph.
    """
    module, failures = _on_cpu(module), []
    for route in _routes(module):
        try:
            with quiet(), torch.no_grad():
                return _checked(route, module, how)
        except Exception as failure:  # torch raises nearly anything here
            failures.append(first_line(failure))
    raise NothingToDo(f"The model cannot be captured with all its outputs ({'; '.join(failures)}).")


def _routes(module: nn.Module) -> Sequence[Route]:
    if isinstance(module, torch.jit.ScriptModule):
        script = module
        return (
            lambda x: convert_torchscript(script, x, every_output=True),
            lambda x: retrace_torchscript(script, x, every_output=True),
        )
    return (lambda x: export_eager(module, x, every_output=True),)


def _checked(route: Route, module: nn.Module, how: Preprocess) -> fx.GraphModule:
    sample, other = (sample_of(how, count) for count in _BATCHES)
    graph = route(sample).eval()
    pairs = zip(_tensors(graph(other)), _tensors(module(other)), strict=True)
    error = max(relative_error(ours, theirs) for ours, theirs in pairs)
    if not error <= _TOLERANCE:
        raise ValueError(f"the graph differs from the model by {error:.1e} of its output range")
    return graph


def _on_cpu(module: nn.Module) -> nn.Module:
    tensors = (*module.parameters(), *module.buffers())
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    return copy.deepcopy(module).cpu()


def _tensors(outputs: Any) -> Sequence[torch.Tensor]:
    return [tensor for _, tensor in named_tensors(outputs)]
