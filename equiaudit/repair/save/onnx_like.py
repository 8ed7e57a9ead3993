"""Writing a converted graph as the ONNX file that it was imported from was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from equiaudit.graphs.outputs import graph_outputs
from equiaudit.models.runtimes.base import Forward
from equiaudit.repair.onnx.check import QUANTISED_TOLERANCE
from equiaudit.repair.onnx.interface import TYPES, restore_interface
from equiaudit.repair.onnx.module import ImportedOnnx
from equiaudit.repair.options import Pad
from equiaudit.repair.save.formats import exported_onnx, write_onnx
from equiaudit.repair.save.in_runtimes import Run, in_runtimes

_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in TYPES}


@dataclass(frozen=True)
class LikeOnnx:
    """ONNX with the names, types, layout, batch axis and metadata of `imported`.

    The graph takes (N, C, H, W) of the file's dtype and returns its outputs, main one first.
    """

    imported: ImportedOnnx
    pad: Pad = "wrap"
    bit_equal: bool = False
    runtimes: tuple[str, ...] = ()

    @property
    def leeway(self) -> float:
        """Steps of integers, where the file has them."""
        return QUANTISED_TOLERANCE if self.imported.quantised else 0.0

    @property
    def output_dtypes(self) -> tuple[torch.dtype, ...]:
        """The file's own."""
        return tuple(_DTYPES.get(port.dtype, torch.float32) for port in self.imported.outputs)

    def write(
        self, module: fx.GraphModule, path: Path, example: torch.Tensor, preprocess: str
    ) -> tuple[Path, ...]:
        """Export, put the interface back, and save."""
        outputs = len(graph_outputs(module))
        model = exported_onnx(module, example, preprocess, self.pad, outputs)
        write_onnx(restore_interface(model, self.imported), path)
        return ()

    def load(self, path: Path) -> Run:
        """The file in its runtimes, fed in its own layout and, where fixed, batches."""
        return in_runtimes(path, self.runtimes, self._outputs)

    def _outputs(self, forward: Forward) -> Run:
        names, fixed = self.imported.output_names, self.imported.fixed_batch
        nhwc = self.imported.layout == "NHWC"

        def piece(batch: torch.Tensor) -> list[torch.Tensor]:
            lacking = 0 if fixed is None else fixed - len(batch)
            full = torch.cat([batch, batch[-1:].expand(lacking, *batch.shape[1:])])
            found = forward(full.permute(0, 2, 3, 1) if nhwc else full)
            return [_widened(found[name])[: len(batch)] for name in names]

        def run(batch: torch.Tensor) -> torch.Tensor:
            pieces = [piece(part) for part in torch.split(batch, fixed or max(1, len(batch)))]
            outputs = tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
            return outputs[0] if len(outputs) == 1 else outputs  # type: ignore[return-value]

        return run


def _widened(output: torch.Tensor) -> torch.Tensor:
    return output.float() if output.dtype == torch.float16 else output
