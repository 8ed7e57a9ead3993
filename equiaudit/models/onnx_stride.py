"""The total stride of an ONNX graph, by walking its nodes with inferred shapes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from equiaudit.models.grids import (
    Grid,
    Grids,
    coarsened,
    inherited,
    permuted,
    reshaped,
    resized,
    sliced,
)

__all__ = ["inferred_shapes", "onnx_total_stride"]

_Shapes = dict[str, tuple[int, ...]]
_POOLS = ("MaxPool", "AveragePool", "LpPool")
_RESIZES = ("Resize", "Upsample", "DepthToSpace", "SpaceToDepth")
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def onnx_total_stride(path: Path, size: tuple[int, int], layout: str) -> tuple[int, int] | None:
    """The cumulative stride (rows, columns), px, of the deepest map at the input `size`.

    The same rules as for torch modules. None where the shapes cannot be inferred.
    """
    proto = onnx.load(path, load_external_data=False)
    image = _fix_input(proto, size, layout)
    shapes = _inferred_shapes(proto)
    constants = _constants(proto.graph)
    grids = Grids(image, Grid(1, 2) if layout == "NHWC" else Grid(2, 3), shapes[image])
    for node in proto.graph.node:
        if not _walk(node, grids, shapes, constants):
            return None
    return grids.total()


def inferred_shapes(proto: onnx.ModelProto, size: tuple[int, int], layout: str) -> _Shapes:
    """Shapes by tensor name for one image of `size`, where every side is known.

    `proto` is changed: what it declares of shapes is inferred anew.
    """
    _fix_input(proto, size, layout)
    return _inferred_shapes(proto)


def _fix_input(proto: onnx.ModelProto, size: tuple[int, int], layout: str) -> str:
    """One image of `size` as the graph's input, whose name is returned."""
    initialisers = {tensor.name for tensor in proto.graph.initializer}
    image = next(item for item in proto.graph.input if item.name not in initialisers)
    dims = image.type.tensor_type.shape.dim
    rows, columns = (1, 2) if layout == "NHWC" else (2, 3)
    for place, side in ((0, 1), (rows, size[0]), (columns, size[1])):
        dims[place].dim_value = side
    return str(image.name)


def _inferred_shapes(proto: onnx.ModelProto) -> _Shapes:
    """Shapes by tensor name, where every side is known; declared ones are inferred anew."""
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    infos = (*graph.input, *graph.value_info, *graph.output)
    shapes = {i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim) for i in infos}
    return {name: shape for name, shape in shapes.items() if shape and all(shape)}


def _constants(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Small integer constants by name: the steps and axes of slices."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {
        name: [int(v) for v in numpy_helper.to_array(tensor).reshape(-1)]
        for name, tensor in tensors.items()
        if tensor.data_type == onnx.TensorProto.INT64
        and tensor.data_location != onnx.TensorProto.EXTERNAL
    }


def _walk(
    node: onnx.NodeProto, grids: Grids, shapes: _Shapes, constants: dict[str, list[int]]
) -> bool:
    """Note the grids of the node's outputs; False where a shape that matters is not known."""
    sources = [name for name in node.input if name in grids]
    if not sources or node.op_type in ("Shape", "Size"):
        return True
    if node.output[0] not in shapes:
        return not grids.known(sources)
    for output in (name for name in node.output if name in shapes):
        grids.note(
            output, _grid_of(node, shapes[output], sources, grids, constants), shapes[output]
        )
    return True


def _grid_of(
    node: onnx.NodeProto,
    shape: tuple[int, ...],
    sources: list[str],
    grids: Grids,
    constants: dict[str, list[int]],
) -> Grid | None:
    if node.op_type not in _RULES or sources[0] != node.input[0]:
        return inherited(grids.known(sources), shape)
    own = grids.known(sources[:1])
    return _ruled(node, own[0][0], (own[0][1], shape), constants) if own else None


_RULES = ("Conv", "ConvTranspose", "Slice", "Transpose", "Pad", *_POOLS, *_RESIZES, *_RESHAPES)


def _ruled(
    node: onnx.NodeProto,
    grid: Grid,
    shapes: tuple[Sequence[int], Sequence[int]],
    constants: dict[str, list[int]],
) -> Grid | None:
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Slice":
        return _sliced(node, grid, shapes[0], options, constants)
    if node.op_type == "Transpose":
        return permuted(grid, options.get("perm", range(len(shapes[0]))[::-1]))
    if node.op_type == "Pad":
        return grid
    if node.op_type in _RESIZES:
        return resized(grid, *shapes)
    if node.op_type in _RESHAPES:
        return reshaped(grid, *shapes)
    return _strided(grid, options.get("strides", [1, 1]), up=node.op_type == "ConvTranspose")


def _strided(grid: Grid, strides: Sequence[int], *, up: bool) -> Grid | None:
    if len(strides) != 2:
        return None
    return coarsened(grid, [Fraction(1, s) if up else Fraction(s) for s in strides])


def _sliced(
    node: onnx.NodeProto,
    grid: Grid,
    shape: Sequence[int],
    options: dict[str, Any],
    constants: dict[str, list[int]],
) -> Grid:
    """Inputs: data, starts, ends, axes, steps; before opset 10 there were no steps."""
    names = [*node.input, "", "", ""]
    starts = constants.get(names[1], options.get("starts", []))
    axes = constants.get(names[3], options.get("axes", range(len(starts))))
    steps = constants.get(names[4], [1] * len(axes))
    for axis, step in zip(axes, steps, strict=False):
        grid = sliced(grid, axis % len(shape), step)
    return grid
