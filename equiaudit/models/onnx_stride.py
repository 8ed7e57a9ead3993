"""The total stride of an ONNX graph, by walking its nodes with their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
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
from equiaudit.models.onnx_functions import constant_tensors, every_node, sort_nodes
from equiaudit.models.onnx_shapes import Shapes, inferred_shapes, shapes_in_a_run

_RESIZES = ("Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "MaxUnpool")
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
# What may end a map without sampling it: positions are laid out in a line, summed or mixed, or
# regions are cut out of it. Any other operator that loses the grid of a map leaves the stride
# unknown.
_FORGETFUL = (
    "Reshape", "Flatten", "ArgMax", "ArgMin", "TopK", "MatMul", "MatMulInteger", "Gemm", "Einsum",
    "FusedMatMul", "FusedGemm", "QGemm", "QLinearMatMul", "QLinearReduceMean", "Attention",
    "MultiHeadAttention", "NonMaxSuppression", "NonZero", "RoiAlign", "MaxRoiPool", "DFT",
    "SequenceConstruct", "SplitToSequence", "Optional", "GlobalAveragePool", "GlobalMaxPool",
    "GlobalLpPool", "QLinearGlobalAveragePool", "DynamicQuantizeLinear", "Range", "MatMulNBits",
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
)  # fmt: skip
_Constants = Mapping[str, Sequence[float]]


def onnx_total_stride(
    path: Path,
    size: tuple[int, int],
    layout: str,
    image: str = "",
    *,
    channels: int = 3,
) -> tuple[int, int] | None:
    """The cumulative stride (rows, columns), px, of the deepest map at the input `size`.

    The same rules as for torch modules. `image` is the input's name, else the first; it has
    `channels` where the file does not say. Functions of the file are put in place of their
    calls. None where it is not known.
    """
    proto = onnx.load(path, load_external_data=False)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    sort_nodes(proto.graph)
    given = fix_input(proto, (channels, *size), layout, image)
    shapes = _Shapes(proto, path.parent)
    start = Grids(given, Grid(1, 2) if layout == "NHWC" else Grid(2, 3), shapes.get(given))
    walk = _Walk(start, shapes, _constants(proto.graph))
    for node in proto.graph.node:
        walk.pass_by(node)
    return walk.grids.total()


def fix_input(proto: onnx.ModelProto, sides: tuple[int, int, int], layout: str, image: str) -> str:
    """The image input at `sides` (C, H, W), one image where the batch is free; its name."""
    initialisers = {tensor.name for tensor in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in initialisers]
    given = next((item for item in inputs if item.name == image), inputs[0])
    dims = given.type.tensor_type.shape.dim
    batch = max(1, dims[0].dim_value) if dims else 1
    ordered = (*sides[1:], sides[0]) if layout == "NHWC" else sides
    del dims[:]
    for side in (batch, *ordered):
        dims.add().dim_value = side
    return str(given.name)


def _constants(graph: onnx.GraphProto) -> _Constants:
    """Small constants by name: the steps and axes of slices, the scales of resizes."""
    found: dict[str, Sequence[float]] = {}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name in ("value_ints", "value_floats"):
                found[node.output[0]] = onnx.helper.get_attribute_value(attribute)
    kinds = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.FLOAT)
    for name, tensor in constant_tensors(graph).items():
        small = len(tensor.dims) <= 1 and sum(tensor.dims) <= 8
        if small and tensor.data_type in kinds:
            found[name] = numpy_helper.to_array(tensor).reshape(-1).tolist()
    return found


class _Shapes:
    """Shapes by name: inferred, and seen in one run where inference did not get so far."""

    def __init__(self, proto: onnx.ModelProto, folder: Path) -> None:
        self._proto, self._folder = proto, folder
        self._inferred = inferred_shapes(proto)
        self._seen: Shapes | None = None

    def get(self, name: str) -> tuple[int, ...]:
        """The shape; () where it is not known, or of a number."""
        if name in self._inferred:
            return self._inferred[name]
        if self._seen is None:
            self._seen = shapes_in_a_run(self._proto, self._folder)
        return self._seen.get(name, ())


class _Walk:
    """The grids found so far, node by node."""

    def __init__(self, grids: Grids, shapes: _Shapes, constants: _Constants) -> None:
        self.grids, self.shapes, self.constants = grids, shapes, constants

    def pass_by(self, node: onnx.NodeProto) -> None:
        """Note the grids of the node's outputs."""
        sources = [name for name in (*node.input, *_captured(node)) if name in self.grids]
        if not sources or node.op_type in ("Shape", "Size"):
            return
        maps = self.grids.maps(sources)
        if maps and any(_samples(inner) for inner in _inner(node)):
            self.grids.lose()  # a body that runs as often as the data says
        for output in (name for name in node.output if name):
            shape = self.shapes.get(output)
            found = self._grid_of(node, shape, sources) if shape else None
            unknown = not self.grids.note(output, found, shape)
            if unknown and (_samples(node) or (maps and not _may_forget(node))):
                self.grids.lose()

    def _grid_of(
        self, node: onnx.NodeProto, shape: Sequence[int], sources: list[str]
    ) -> Grid | None:
        first = bool(node.input) and sources[0] == node.input[0]
        own = self.grids.known(sources[:1]) if first else []
        if first and _has_rule(node):
            return self._ruled(node, *own[0], shape) if own else None
        return inherited(self.grids.known(sources), shape)

    def _ruled(
        self, node: onnx.NodeProto, grid: Grid, before: Sequence[int], shape: Sequence[int]
    ) -> Grid | None:
        options = _options(node)
        if node.op_type == "Slice":
            return self._sliced(node, grid, before, options)
        if node.op_type == "Transpose":
            return permuted(grid, options.get("perm", range(len(before))[::-1]))
        if node.op_type == "Pad":
            return grid
        if node.op_type in _RESIZES:
            return resized(grid, before, shape, self._scales(node, grid, before))
        if node.op_type in _RESHAPES:
            return reshaped(grid, before, shape)
        return coarsened(grid, _strides(node)) if len(_strides(node)) == 2 else None

    def _scales(
        self, node: onnx.NodeProto, grid: Grid, before: Sequence[int]
    ) -> Sequence[float] | None:
        """Those that a Resize states, which count where sides were rounded."""
        if node.op_type not in ("Resize", "Upsample") or len(node.input) > 3:
            return None
        names = list(node.input[1:])
        stated = next((s for n in names[::-1] if len(s := self.constants.get(n, ())) > 0), ())
        if len(stated) != len(before):
            return None
        return stated[grid.rows], stated[grid.columns]

    def _sliced(
        self, node: onnx.NodeProto, grid: Grid, shape: Sequence[int], options: dict[str, Any]
    ) -> Grid | None:
        """Inputs: data, starts, ends, axes, steps; before opset 10 there were no steps."""
        names = [*node.input, "", "", ""]
        if any(name and name not in self.constants for name in names[3:5]):
            return None
        axes = self.constants.get(names[3], options.get("axes", range(len(shape))))
        steps = self.constants.get(names[4], [1] * len(axes))
        for axis, step in zip(axes, steps, strict=False):
            grid = sliced(grid, int(axis) % len(shape), abs(int(step)))
        return grid


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _has_rule(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Slice", "Transpose", "Pad", *_RESIZES, *_RESHAPES) or _slides(node)


def _slides(node: onnx.NodeProto) -> bool:
    """Whether it is a convolution or a pool, of any domain: quantised, fused, channels last."""
    windowed = "Conv" in node.op_type or node.op_type.endswith("Pool")
    return windowed and "Global" not in node.op_type and "Roi" not in node.op_type


def _strides(node: onnx.NodeProto) -> list[Fraction]:
    steps = _options(node).get("strides")
    if steps is None:
        kernel = [a.ints for a in node.attribute if a.name == "kernel_shape"]
        steps = [1] * (len(kernel[0]) if kernel else 2)
    up = "ConvTranspose" in node.op_type
    return [Fraction(1, s) if up else Fraction(s) for s in steps]


def _samples(node: onnx.NodeProto) -> bool:
    """Whether the node may change the size of a map."""
    if _slides(node):
        return len(_strides(node)) == 2 and any(step != 1 for step in _strides(node))
    return node.op_type in ("Resize", "Upsample", "GridSample")


def _may_forget(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Reduce") or node.op_type in _FORGETFUL


def _inner(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    graphs = [g for a in node.attribute for g in (a.g, *a.graphs)]
    return [inner for graph in graphs for inner in every_node(graph.node)]


def _captured(node: onnx.NodeProto) -> list[str]:
    """What the bodies of a node read from around it."""
    return [name for inner in _inner(node) for name in inner.input]
