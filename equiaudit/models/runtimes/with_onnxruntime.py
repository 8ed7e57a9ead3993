"""ONNX files in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.models.runtimes.base import Forward, Runtime

if TYPE_CHECKING:
    import torch


class OnnxRuntime:
    """Sessions on the CPU or CUDA, as many threads as torch has."""

    label = package = "onnxruntime"
    extra = ""
    reads = ("onnx",)
    tip = "Give an ONNX file."

    def settings(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def said(self) -> str:
        """Its version and threads."""
        import onnxruntime
        import torch

        return f"onnxruntime {onnxruntime.__version__}, threads: {torch.get_num_threads()}"

    def forward(
        self,
        source: Path | bytes,
        device: torch.device,
        *,
        what: str,
        image: str = "",
        inputs: Mapping[str, str] | None = None,
    ) -> Forward:
        """A session; InputError where onnxruntime cannot run the file."""
        from equiaudit.models.onnx import onnx_forward

        return onnx_forward(source, device, what=what, image=image, inputs=inputs)


RUNTIME: Runtime = OnnxRuntime()
