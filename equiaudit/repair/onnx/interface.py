"""A freshly exported graph, made to look like the file that it replaces from the outside."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from typing import Any

import onnx
from onnx import TensorProto, helper

from equiaudit.errors import RunError
from equiaudit.repair.onnx.module import ImportedOnnx
from equiaudit.repair.onnx.reader import Port

__all__ = ["restore_interface"]

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


def restore_interface(model: onnx.ModelProto, imported: ImportedOnnx) -> onnx.ModelProto:
    """A copy of `model` with the names, types, layout and batch axis of the file imported.

    `model` maps float32 (N, C, H, W) to the first of the file's outputs, or the first few, in
    order. Metadata of both are kept, `model`'s where both have a key. The other axes are those
    of `model`: a converted graph is for one image size.
    Raises RunError where the result does not pass ONNX's checker.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    ports = (imported.input, *imported.outputs[: len(graph.output)])
    _free_names(graph, {port.name for port in ports})
    _restore_input(graph, imported)
    for i, port in enumerate(ports[1:]):
        _restore_output(graph, i, port)
    graph.name = imported.graph_name or graph.name
    del graph.value_info[:]
    _merge_metadata(result, imported.metadata_props)
    try:
        onnx.checker.check_model(result)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise RunError(f"The converted ONNX model is not valid: {reason}.") from error
    return result


def _free_names(graph: onnx.GraphProto, wanted: set[str]) -> None:
    """Rename whatever in the graph has a name that an input or output is to get."""
    tensors = {name for node in graph.node for name in (*node.input, *node.output)}
    tensors |= {item.name for item in (*graph.input, *graph.output, *graph.initializer)}
    renamed = {name: _unused(f"inner_{name}", tensors | wanted) for name in wanted & tensors}
    for node in graph.node:
        _rename(node.input, renamed)
        _rename(node.output, renamed)
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = renamed.get(item.name, item.name)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _rename(names: MutableSequence[str], renamed: Mapping[str, str]) -> None:
    for i, name in enumerate(names):
        if name in renamed:
            names[i] = renamed[name]


def _restore_input(graph: onnx.GraphProto, imported: ImportedOnnx) -> None:
    """Cast, then transpose, where the file takes another type or layout; else only rename."""
    inner, port = graph.input[0], imported.input
    steps: list[tuple[str, dict[str, Any]]] = []
    if port.dtype != "float32":
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    if imported.layout == "NHWC":
        steps.append(("Transpose", {"perm": [0, 3, 1, 2]}))
    if steps:
        _prepend(graph, port.name, inner.name, steps)
    else:
        for node in graph.node:
            _rename(node.input, {inner.name: port.name})
    sides: list[int | str | None] = [imported.channels, *imported.size]
    if imported.layout == "NHWC":
        sides = [*sides[1:], sides[0]]
    shape = [port.shape[0] or "batch", *sides]
    inner.CopyFrom(helper.make_tensor_value_info(port.name, _TYPES[port.dtype], shape))


def _prepend(
    graph: onnx.GraphProto, outer: str, inner: str, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    nodes, source = [], outer
    for i, (kind, attributes) in enumerate(steps):
        target = inner if i == len(steps) - 1 else _unused(f"{inner}_{kind}", _names(graph))
        nodes.append(helper.make_node(kind, [source], [target], f"{outer}_{kind}", **attributes))
        source = target
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _names(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in (*node.input, *node.output)}


def _restore_output(graph: onnx.GraphProto, index: int, port: Port) -> None:
    inner = graph.output[index]
    kind = inner.type.tensor_type
    sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
    own = _TYPES.get(port.dtype, kind.elem_type)
    if own != kind.elem_type:
        graph.node.append(
            helper.make_node("Cast", [inner.name], [port.name], f"{port.name}_Cast", to=own)
        )
    else:
        for node in graph.node:
            _rename(node.output, {inner.name: port.name})
            _rename(node.input, {inner.name: port.name})
    leading = port.shape[0] if port.shape else None
    shape = [leading or "batch", *sizes[1:]]
    inner.CopyFrom(helper.make_tensor_value_info(port.name, own, shape))


def _merge_metadata(model: onnx.ModelProto, original: Mapping[str, str]) -> None:
    present = {item.key for item in model.metadata_props}
    for key, value in original.items():
        if key not in present:
            item = model.metadata_props.add()
            item.key, item.value = key, value
