"""A graph that was imported from an ONNX file as a `Net` that is written like the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import fx

from equiaudit.errors import RunError
from equiaudit.models.types import Preprocess
from equiaudit.repair.analyse import Analysis
from equiaudit.repair.formats import Run, file_format
from equiaudit.repair.grid import Grid
from equiaudit.repair.methods.base import Converted
from equiaudit.repair.methods.nets import GraphNet
from equiaudit.repair.onnx import ImportedOnnx, LikeOnnx
from equiaudit.repair.outputs import graph_outputs
from equiaudit.repair.save import Saved, save

__all__ = ["Further", "OnnxNet", "further_outputs"]


@dataclass(frozen=True)
class OnnxNet(GraphNet):
    """A graph on the CPU that takes (N, C, H, W) of the dtype of `imported`."""

    imported: ImportedOnnx = field(kw_only=True)

    def save(
        self,
        path: Path,
        *,
        example: torch.Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """As ONNX with the borders of the file imported; other kinds take NCHW, any batch.

        Raises RunError naming the outputs that the graph no longer has.
        """
        lost = self.imported.output_names[len(graph_outputs(self.graph)) :]
        if lost:
            raise RunError(
                f"{path.name} would lose the output {', '.join(map(repr, lost))}.",
                tip="--method mass keeps every output.",
            )
        kind = file_format(path, self.pad)
        if path.suffix.lower() == ".onnx":
            kind = LikeOnnx(self.imported, self.pad)
        else:
            preprocess = replace(preprocess, layout="NCHW")
        return save(
            self.graph, path, example=example, preprocess=preprocess, check=check, kind=kind
        )


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
            yield Further(imported.output_names[place], place, _is_map(grid))


def _is_map(grid: Grid | None) -> bool:
    return grid is not None and [axis.dim for axis in grid.present] == [-2, -1]
