"""Small ONNX models, and onnxruntime as the reference for them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

IR_VERSION = 8


def model(
    *nodes: onnx.NodeProto,
    constants: Mapping[str, Any] | None = None,
    shape: Sequence[int | str] = ("n", 4, 12, 16),
    opset: int = 18,
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
    output_dtype: int | None = None,
    listed: bool = False,
    domains: Sequence[str] = (),
    axes: int | None = None,
) -> onnx.ModelProto:
    """A graph from "x" to `outputs`, whose sizes are left open.

    ONNX wants their number of `axes`; unless it is given, onnxruntime is asked.
    """
    for i, item in enumerate(nodes):
        item.name = f"{item.op_type}_{i}"
    tensors = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    if listed:  # as files of the first versions do
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    kind = dtype if output_dtype is None else output_dtype
    results = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "graph", inputs, results, tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    ranks = [axes] * len(outputs) if axes else [y.dim() for y in run(proto, images(proto, 1))]
    for output, rank in zip(proto.graph.output, ranks, strict=True):
        names = [f"{output.name}_{i}" for i in range(rank)]
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, names))
    return proto


def node(kind: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """`inputs` and `outputs` are names with blanks between; `-` leaves an input out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, outputs.split(), **attributes)


def one(kind: str, inputs: str = "x", **given: Any) -> onnx.ModelProto:
    """A model of one node; `attributes` are the node's, the rest is for `model`."""
    attributes = given.pop("attributes", {})
    return model(node(kind, inputs, **attributes), **given)


def images(proto: onnx.ModelProto, batch: int, seed: int = 1) -> torch.Tensor:
    known = {tensor.name for tensor in proto.graph.initializer}
    kind = next(i for i in proto.graph.input if i.name not in known).type.tensor_type
    sides = [d.dim_value for d in kind.shape.dim][1:]
    generator = torch.Generator().manual_seed(seed)
    if kind.elem_type == TensorProto.UINT8:
        return torch.randint(0, 256, (batch, *sides), generator=generator, dtype=torch.uint8)
    x = torch.randn((batch, *sides), generator=generator) * 2
    return x.half() if kind.elem_type == TensorProto.FLOAT16 else x


def run(proto: onnx.ModelProto, x: torch.Tensor) -> list[torch.Tensor]:
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [
        torch.from_numpy(y) for y in session.run(None, {session.get_inputs()[0].name: x.numpy()})
    ]


def error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the expected range; infinite where shapes or dtypes differ."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    a, b = actual.double(), expected.double()
    spread = (b.max() - b.min()).item() or 1.0
    return ((a - b).abs().max() / spread).item()


def export(
    net: nn.Module, kind: str, *, side: int = 64, opset: int | None = None, batch: str | None = "n"
) -> onnx.ModelProto:
    """`net` by torch's "dynamo" or "legacy" exporter, with a free batch axis unless None."""
    import io

    example = torch.randn(2 if batch else 1, 3, side, side)
    free = {"opset_version": opset} if opset else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "dynamo":
            shapes = ({0: torch.export.Dim(batch)},) if batch else None
            program = torch.onnx.export(
                net, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False,
                input_names=["image"], **free,
            )  # fmt: skip
            return program.model_proto
        buffer = io.BytesIO()
        torch.onnx.export(
            net, (example,), buffer, dynamo=False, input_names=["image"], output_names=["y"],
            dynamic_axes={"image": {0: batch}} if batch else None, **free,
        )  # fmt: skip
        return onnx.load_from_string(buffer.getvalue())
