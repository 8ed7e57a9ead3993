"""An imported file as the graph that the analysis reads, in front of it a cast where due."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx

from equiaudit.errors import NothingToDo, first_line
from equiaudit.graphs.capture import Captured
from equiaudit.graphs.outputs import all_outputs, relative_error
from equiaudit.graphs.quiet import quiet
from equiaudit.graphs.routes import reexport
from equiaudit.repair.onnx.module import ImportedOnnx

__all__ = ["OnnxCaptured", "capture_onnx"]

_BATCHES = (7, 3, 5)
"""Of the sample that the graph is recorded with, and of those it is checked on."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class OnnxCaptured(Captured):
    """The graph of an ONNX file.

    It maps (N, C, H, W) of the file's own dtype, for any N, to its outputs, the main one first:
    a tensor, or a tuple of several. It computes in float32 whatever the file does.
    """

    imported: ImportedOnnx = field(kw_only=True)


def capture_onnx(imported: ImportedOnnx) -> OnnxCaptured:
    """`imported.module` with a symbolic batch; NothingToDo where it cannot be recorded so."""
    generator = torch.Generator().manual_seed(0)
    sample, *others = (_images(imported, n, generator) for n in _BATCHES)
    module = _taking_its_dtype(imported)
    try:
        with quiet():
            graph = reexport(module, sample, every_output=True).eval()
            error = max(_disagreement(graph, module, batch) for batch in others)
    except Exception as failure:  # torch raises nearly anything here
        raise NothingToDo(
            f"The ONNX model cannot be captured as one graph ({first_line(failure)}).",
            tip="--method canonical needs no graph.",
        ) from failure
    return OnnxCaptured(
        graph, "ONNX import", imported.size, error, imported.notes, imported=imported
    )


def _images(imported: ImportedOnnx, count: int, generator: torch.Generator) -> torch.Tensor:
    shape = (count, imported.channels, *imported.size)
    if imported.input.dtype == "uint8":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator).to(getattr(torch, imported.input.dtype))


def _taking_its_dtype(imported: ImportedOnnx) -> fx.GraphModule:
    """The module behind a cast to float32, where the file takes something else."""
    module = imported.module
    if imported.input.dtype == "float32":
        return module
    graph = fx.Graph()
    twins: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        copied = twins[node] = graph.node_copy(node, lambda source: twins[source])
        if node.op == "placeholder":
            cast = graph.call_function(torch.ops.aten.to.dtype, (copied, torch.float32))
            twins[node] = cast
    return fx.GraphModule(module, graph)


def _disagreement(graph: fx.GraphModule, module: fx.GraphModule, batch: torch.Tensor) -> float:
    """Largest difference over any output's range; 0 means equal bits."""
    with torch.no_grad():
        pairs = zip(all_outputs(graph(batch)), all_outputs(module(batch)), strict=True)
        error = max(relative_error(ours, theirs) for ours, theirs in pairs)
    if not error <= _TOLERANCE:
        raise ValueError(f"the graph differs from the import by {error:.1e} of its range")
    return error
