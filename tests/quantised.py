"""Nets quantised by onnxruntime: static in both formats, and dynamic."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from artefacts import write_onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from torch import Tensor, nn

__all__ = ["write_dynamic", "write_static"]


class _Noise(CalibrationDataReader):
    def __init__(self, name: str, shape: tuple[int, ...], count: int = 4) -> None:
        rng = np.random.default_rng(0)
        self._feeds = [{name: rng.normal(size=shape).astype("float32")} for _ in range(count)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._feeds.pop() if self._feeds else None


def write_static(
    module: nn.Module,
    path: Path,
    example: Tensor,
    *,
    qdq: bool = True,
    per_channel: bool = False,
    activations: QuantType = QuantType.QUInt8,
) -> Path:
    """`module` quantised on noise of the shape of `example` (two images), batch free."""
    plain = _plain(module, path, example)
    name = onnx.load(plain, load_external_data=False).graph.input[0].name
    quantize_static(
        plain,
        path,
        _Noise(name, tuple(example.shape)),
        quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    return path


def write_dynamic(module: nn.Module, path: Path, example: Tensor) -> Path:
    """`module` with ConvInteger and MatMulInteger, whose scales are those of each batch."""
    quantize_dynamic(_plain(module, path, example), path, weight_type=QuantType.QUInt8)
    return path


def _plain(module: nn.Module, path: Path, example: Tensor) -> Path:
    """The file to quantise; the quantiser says what it thinks of files without preprocessing."""
    logging.getLogger().setLevel(logging.ERROR)
    return write_onnx(module.eval(), path.with_suffix(".plain.onnx"), example)
