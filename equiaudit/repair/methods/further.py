"""The outputs of an ONNX file besides its main one, which a conversion has to keep exact too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from equiaudit.graphs.outputs import graph_outputs
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.onnx import ImportedOnnx
from equiaudit.repair.rewrite.analyse import Analysis
from equiaudit.repair.save.formats import Run


@dataclass(frozen=True)
class Further:
    """An output besides the main one, and how to look at it alone."""

    name: str
    place: int
    dense: bool

    def alone(self, converted: Converted) -> Converted:
        """`converted` with the check that this output has to pass."""
        check: Any = converted.check
        own = {"dense": self.dense, "layout": "NCHW", "threshold": None}
        return replace(converted, check=replace(check, **own))

    def of(self, run: Run) -> Run:
        """`run` for this output: maps as (N, C, h, w), anything else as it is."""

        def taken(batch: torch.Tensor) -> torch.Tensor:
            output = run(batch)[self.place]
            return output.reshape(len(output), -1, *output.shape[-2:]) if self.dense else output

        return taken


def further_outputs(
    graph: fx.GraphModule, analysis: Analysis, imported: ImportedOnnx
) -> Iterator[Further]:
    """The outputs of `graph`, which was analysed, after its main one."""
    for place, node in enumerate(graph_outputs(graph)):
        grid = analysis.grids.get(node.name)
        if place:
            dense = grid is not None and [axis.dim for axis in grid.present] == [-2, -1]
            yield Further(imported.output_names[place], place, dense)
