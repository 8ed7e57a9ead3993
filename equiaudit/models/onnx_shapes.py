"""Shapes of the tensors of an ONNX graph: inferred, or seen in a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

Shapes = dict[str, tuple[int, ...]]
_NAME = "equiaudit_shape_{}"


def inferred_shapes(proto: onnx.ModelProto) -> Shapes:
    """Shapes by tensor name, where every side is known; declared ones are inferred anew."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # onnx raises nearly anything for graphs that onnxruntime runs
        graph = bare.graph
    infos = (*graph.input, *graph.value_info, *graph.output)
    shapes = {i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim) for i in infos}
    return {name: shape for name, shape in shapes.items() if shape and all(shape)}


def shapes_in_a_run(proto: onnx.ModelProto, folder: Path) -> Shapes:
    """Shapes by tensor name, from one run over zeros with the sizes that the inputs state.

    Sides that an input leaves open are 1. `folder` holds the external data. Empty where
    onnxruntime does not run it.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    names = [name for node in proto.graph.node if _makes_tensors(node) for name in node.output]
    names = [name for name in names if name]
    del probe.graph.output[:]
    for place, name in enumerate(names):
        told = _NAME.format(place)
        probe.graph.node.append(helper.make_node("Shape", [name], [told]))
        probe.graph.output.append(helper.make_tensor_value_info(told, onnx.TensorProto.INT64, None))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    try:
        session = ort.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        seen: Sequence[NDArray[Any]] = session.run(None, _zeros(proto))
    except Exception:  # onnxruntime's exceptions derive from nothing narrower
        return {}
    return {name: tuple(map(int, shape)) for name, shape in zip(names, seen, strict=True)}


def _makes_tensors(node: onnx.NodeProto) -> bool:
    sequence = "Sequence" in node.op_type or node.op_type.startswith("Optional")
    return not sequence or node.op_type in ("SequenceAt", "OptionalGetElement")


def _zeros(proto: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    initialisers = {tensor.name for tensor in proto.graph.initializer}
    zeros = {}
    for item in proto.graph.input:
        kind = item.type.tensor_type
        if item.name not in initialisers:
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            zeros[item.name] = np.zeros([d.dim_value or 1 for d in kind.shape.dim], dtype)
    return zeros
