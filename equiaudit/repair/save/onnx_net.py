"""A graph that was imported from an ONNX file as a `Net` that is written like the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from equiaudit.errors import RunError
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.models.types import Preprocess
from equiaudit.repair.onnx import ImportedOnnx
from equiaudit.repair.save.formats import Run, file_format
from equiaudit.repair.save.graph_net import GraphNet
from equiaudit.repair.save.onnx_like import LikeOnnx
from equiaudit.repair.save.write import Saved, save


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
        kind = file_format(path, self.pad, self.runtimes)
        if path.suffix.lower() == ".onnx":
            kind = LikeOnnx(self.imported, self.pad, runtimes=self.runtimes)
        else:
            preprocess = replace(preprocess, layout="NCHW")
        return save(
            self.graph, path, example=example, preprocess=preprocess, check=check, kind=kind
        )
