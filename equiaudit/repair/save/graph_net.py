"""A torch graph as a `Net`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from equiaudit.graphs.nodes import learned_numbers
from equiaudit.models.types import Preprocess
from equiaudit.repair.options import Pad
from equiaudit.repair.save.formats import Run, file_format
from equiaudit.repair.save.write import Saved, save


@dataclass(frozen=True)
class GraphNet:
    """A graph on the CPU."""

    graph: fx.GraphModule
    pad: Pad = "wrap"
    runtimes: tuple[str, ...] = ()
    """In which an ONNX file is run, besides onnxruntime."""

    @property
    def parameters(self) -> int:
        """How many numbers it has learned, wherever the model keeps them."""
        return learned_numbers(self.graph)

    def devices(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """A graph runs wherever torch does."""
        return tuple(wanted)

    def on(self, device: str) -> Run:
        """The graph, or a copy of it on another device than the CPU."""
        return self.graph if device == "cpu" else copy.deepcopy(self.graph).to(device)

    def save(
        self,
        path: Path,
        *,
        example: torch.Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """As the kind of file that the suffix of `path` names."""
        kind = file_format(path, self.pad, self.runtimes)
        return save(
            self.graph, path, example=example, preprocess=preprocess, check=check, kind=kind
        )
