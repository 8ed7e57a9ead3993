"""Nets quantised by onnxruntime (static in both formats, and dynamic), and as pt2e does it."""

from __future__ import annotations

import logging
import operator
from pathlib import Path

import numpy as np
import onnx
import torch
from artefacts import write_onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from torch import Tensor, fx, nn
from torch.export import Dim

from equiaudit.torch_private import know_integer_operators, operator_name

__all__ = ["write_dynamic", "write_pt2e", "write_static"]


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


def write_pt2e(module: nn.Module, path: Path, example: Tensor, *, dynamic: bool = False) -> Path:
    """`module` as torchao's pt2e leaves it: quantise and dequantise around each operator.

    A stand-in with the operators that it writes (`tests/exporters` has the real ones): inputs of
    convolutions and linear layers by tensor (uint8), their weights by channel (int8).
    """
    know_integer_operators()
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: Dim("n")},))
    graph = program.module(check_guards=False)
    for node in list(graph.graph.nodes):
        if operator_name(node.target) in ("conv2d", "linear"):
            with graph.graph.inserting_before(node):
                _with_integers(graph, node, dynamic=dynamic)
    graph.recompile()
    quantised = torch.export.export(graph, (example,), dynamic_shapes=({0: Dim("n")},))
    torch.export.save(quantised, path)
    return path


def _with_integers(graph: fx.GraphModule, node: fx.Node, *, dynamic: bool) -> None:
    ops, call = torch.ops.quantized_decomposed, graph.graph.call_function
    x, weight = node.args[:2]
    how: tuple[object, ...] = (0.02, 120, 0, 255, torch.uint8)
    if dynamic:
        chosen = call(ops.choose_qparams.tensor, (x, 0, 255, 1e-5, torch.uint8))
        how = (*(call(operator.getitem, (chosen, i)) for i in (0, 1)), 0, 255, torch.uint8)
    form = "tensor" if dynamic else "default"
    rounded = call(getattr(ops.quantize_per_tensor, form), (x, *how))
    node.update_arg(0, call(getattr(ops.dequantize_per_tensor, form), (rounded, *how)))
    values = operator.attrgetter(str(weight.target))(graph)
    scales = values.detach().abs().amax(tuple(range(1, values.dim()))) / 127
    stored = torch.round(values / scales.reshape(-1, *[1] * (values.dim() - 1))).to(torch.int8)
    parts = {
        "integers": stored,
        "scales": scales,
        "zeros": torch.zeros(len(scales), dtype=torch.int64),
    }
    for name, value in parts.items():
        graph.register_buffer(f"{node.name}_{name}", value)
    got = [graph.graph.get_attr(f"{node.name}_{name}") for name in parts]
    node.update_arg(1, call(ops.dequantize_per_channel.default, (*got, 0, -127, 127, torch.int8)))
