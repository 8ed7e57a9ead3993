"""Writers of every kind of model file the tests load."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["write_onnx", "write_pt2", "write_torchscript"]


def write_torchscript(
    module: nn.Module,
    path: Path,
    example: Tensor,
    *,
    scripted: bool = False,
    extra_files: dict[str, str] | None = None,
) -> Path:
    """A traced (or scripted) archive of `module` in the mode it is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check = module.training is False
        made = (
            torch.jit.script(module)
            if scripted
            else torch.jit.trace(module, example, check_trace=check)
        )
        torch.jit.save(made, str(path), _extra_files=extra_files or {})
    return path


def write_pt2(
    module: nn.Module,
    path: Path,
    example: Tensor,
    *,
    dynamic_batch: bool = True,
    extra_files: dict[str, str] | None = None,
) -> Path:
    """A `torch.export` archive; with `dynamic_batch` the example needs two images or more."""
    shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files=extra_files)
    return path


def write_onnx(
    module: nn.Module,
    path: Path,
    example: Tensor,
    *,
    dynamic_batch: bool = True,
    external_data: bool = False,
) -> Path:
    """An ONNX file of the dynamo exporter, weights inside unless `external_data`."""
    shapes = ({0: "batch"},) if dynamic_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False
        )
        program.save(str(path), external_data=external_data)
    return path
