"""A freshly exported graph, made to look like the file that it replaces from the outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from equiaudit.errors import RunError
from equiaudit.repair.onnx.module import ImportedOnnx
from equiaudit.repair.onnx.reader import Port
from equiaudit.repair.onnx.requantise import MICROSOFT, requantise

_COMPACT = 256
"""Elements from which on a tensor of a float16 file is stored as float16 again."""
_FLOAT = TensorProto.FLOAT
TYPES = {
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

    `model` maps (N, C, H, W), float32 or of the file's dtype, to the outputs of `imported`, or
    the first few, in its order; they come back in the file's. Metadata of both are kept,
    `model`'s where both have a key. Height and width are those of `model`: a converted graph is
    for one image size. The tensors of a float16 file are stored as float16 wherever that loses
    nothing, and cast to float32 in the graph.
    Raises RunError where the result does not pass ONNX's checker.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, shell = result.graph, imported.shell
    ports = (imported.input, *imported.outputs[: len(graph.output)])
    free_names(graph, {port.name for port in ports})
    _restore_input(graph, imported)
    for i, port in enumerate(ports[1:]):
        _restore_output(graph, i, port, imported)
    _reorder_outputs(graph, [item.name for item in shell.graph.output])
    if imported.widened:
        _compact(graph)
    if imported.quantised:
        requantise(graph, imported.quantised)
        if any(node.domain == MICROSOFT for node in graph.node):
            result.opset_import.add(domain=MICROSOFT, version=1)
    graph.name, graph.doc_string = imported.graph_name or graph.name, shell.graph.doc_string
    result.domain, result.model_version = shell.domain, shell.model_version
    result.doc_string = shell.doc_string
    del graph.value_info[:]
    _merge_metadata(result, imported.metadata_props)
    try:
        onnx.checker.check_model(result)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise RunError(f"The converted ONNX model is not valid: {reason}.") from error
    return result


def _reorder_outputs(graph: onnx.GraphProto, names: list[str]) -> None:
    ordered = sorted(graph.output, key=lambda item: names.index(item.name))
    del graph.output[:]
    graph.output.extend(ordered)


def _compact(graph: onnx.GraphProto) -> None:
    """Store the tensors whose every value is a float16 as such, with a Cast in front."""
    casts = []
    for item in graph.initializer:
        if item.data_type != TensorProto.FLOAT or np.prod(item.dims) < _COMPACT:
            continue
        wide = numpy_helper.to_array(item)
        with np.errstate(over="ignore"):
            narrow = wide.astype(np.float16)
        if not np.array_equal(narrow.astype(np.float32), wide):
            continue
        name, stored = item.name, _unused(f"{item.name}_float16", _names(graph))
        item.CopyFrom(numpy_helper.from_array(narrow, stored))
        casts.append(helper.make_node("Cast", [stored], [name], f"{name}_Cast", to=_FLOAT))
    _insert_first(graph, casts)


def _insert_first(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def free_names(graph: onnx.GraphProto, wanted: set[str]) -> None:
    """Rename whatever in the graph has a name that something else is to get."""
    tensors = _names(graph) | {item.name for item in (*graph.input, *graph.output)}
    renamed = {name: _unused(f"inner_{name}", tensors | wanted) for name in wanted & tensors}
    _rename_all(graph.node, renamed)
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = renamed.get(item.name, item.name)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _rename_all(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> None:
    """Where a tensor is made and where it is read, inside the branches of an If too."""
    for node in nodes:
        _rename(node.input, renamed)
        _rename(node.output, renamed)
        for inner in _graphs(node):
            _rename_all(inner.node, renamed)
            for item in (*inner.input, *inner.output, *inner.initializer, *inner.value_info):
                item.name = renamed.get(item.name, item.name)


def _graphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def _rename(names: MutableSequence[str], renamed: Mapping[str, str]) -> None:
    for i, name in enumerate(names):
        if name in renamed:
            names[i] = renamed[name]


def _restore_input(graph: onnx.GraphProto, imported: ImportedOnnx) -> None:
    """Cast, then transpose, where the file takes another type or layout; else only rename."""
    inner, port = graph.input[0], imported.input
    steps: list[tuple[str, dict[str, Any]]] = []
    if TYPES[port.dtype] != inner.type.tensor_type.elem_type:
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    if imported.layout == "NHWC":
        steps.append(("Transpose", {"perm": [0, 3, 1, 2]}))
    if steps:
        _prepend(graph, port.name, inner.name, steps)
    else:
        _rename_all(graph.node, {inner.name: port.name})
    sides: list[int | str] = [d.dim_value for d in inner.type.tensor_type.shape.dim[1:]]
    if imported.layout == "NHWC":
        sides = [*sides[1:], sides[0]]
    kept = next(item for item in imported.shell.graph.input if item.name == port.name)
    inner.CopyFrom(_border(kept, TYPES[port.dtype], [_batch(port, imported), *sides]))


def _batch(port: Port, imported: ImportedOnnx) -> int | str:
    """The batch axis as the file states it."""
    stated = port.shape[0] if port.shape else None
    return stated or imported.input.shape[0] or "batch"


def _border(
    kept: onnx.ValueInfoProto, elem_type: int, shape: list[int | str]
) -> onnx.ValueInfoProto:
    """An input or output of a type and shape, with the words that the file has about it."""
    made = helper.make_tensor_value_info(kept.name, elem_type, shape, kept.doc_string)
    made.type.denotation = kept.type.denotation
    old, new = (item.type.tensor_type.shape.dim for item in (kept, made))
    if len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            after.denotation = before.denotation
    return made


def _prepend(
    graph: onnx.GraphProto, outer: str, inner: str, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    nodes, source = [], outer
    for i, (kind, attributes) in enumerate(steps):
        target = inner if i == len(steps) - 1 else _unused(f"{inner}_{kind}", _names(graph))
        nodes.append(helper.make_node(kind, [source], [target], f"{outer}_{kind}", **attributes))
        source = target
    _insert_first(graph, nodes)


def _names(graph: onnx.GraphProto) -> set[str]:
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    used |= {item.name for item in graph.initializer}
    return used.union(*(_names(inner) for node in graph.node for inner in _graphs(node)))


def _restore_output(graph: onnx.GraphProto, index: int, port: Port, imported: ImportedOnnx) -> None:
    inner = graph.output[index]
    kind = inner.type.tensor_type
    sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
    own = TYPES.get(port.dtype, kind.elem_type)
    if own != kind.elem_type:
        graph.node.append(
            helper.make_node("Cast", [inner.name], [port.name], f"{port.name}_Cast", to=own)
        )
    else:
        _rename_all(graph.node, {inner.name: port.name})
    kept = next(item for item in imported.shell.graph.output if item.name == port.name)
    inner.CopyFrom(_border(kept, own, [_batch(port, imported), *sizes[1:]]))


def _merge_metadata(model: onnx.ModelProto, original: Mapping[str, str]) -> None:
    present = {item.key for item in model.metadata_props}
    for key, value in original.items():
        if key not in present:
            item = model.metadata_props.add()
            item.key, item.value = key, value
