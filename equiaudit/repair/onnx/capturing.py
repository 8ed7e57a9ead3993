"""An imported file as the graph that the analysis reads, in front of it a cast where due."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import fx

from equiaudit.errors import NothingToDo
from equiaudit.graphs.capture import SAMPLE_BATCHES, Captured, Uncaptured, recorded
from equiaudit.graphs.quiet import quiet
from equiaudit.graphs.routes import reexport
from equiaudit.repair.onnx.module import ImportedOnnx

_ROUTE = "ONNX import"


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
    batches = [_images(imported, n, generator) for n in SAMPLE_BATCHES]
    module = _taking_its_dtype(imported)
    try:
        with quiet():
            way = (_ROUTE, partial(reexport, module, every_output=True))
            found = recorded(module, [way], batches, every_output=True)
    except Uncaptured as failure:
        why = str(failure).removeprefix(f"{_ROUTE}: ")
        raise NothingToDo(
            f"The ONNX model cannot be captured as one graph ({why}).",
            tip="--method canonical needs no graph.",
        ) from failure
    return OnnxCaptured(
        found.graph, _ROUTE, imported.size, found.error, imported.notes, imported=imported
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
