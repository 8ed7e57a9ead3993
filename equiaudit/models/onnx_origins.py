"""Which node of an ONNX graph an output comes from, and what the file's metadata say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from equiaudit.models.onnx_shapes import Shapes, inferred_shapes, shapes_in_a_run
from equiaudit.models.onnx_stride import fix_input
from equiaudit.models.origins import UNKNOWN, Origin, Origins

_MAKERS = {
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    "ArgMax": "argmax",
    "TopK": "topk",
    "LpNormalization": "normalize",
    **dict.fromkeys(("Gemm", "MatMul", "Conv", "QLinearConv", "QGemm", "QLinearMatMul"), "linear"),
    **dict.fromkeys(("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"), "compare"),
    **dict.fromkeys(("Not", "And", "Or"), "compare"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"), "pool"),
    **dict.fromkeys(("AveragePool", "MaxPool"), "pool"),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), "norm"),
    "Relu": "relu",
}
_PASSING = frozenset(
    [
        "Identity",
        "Cast",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Transpose",
        "Slice",
        "Gather",
        "Dropout",
        "Split",
        "Expand",
        "QuantizeLinear",
        "DequantizeLinear",
    ]
)
_SUPPRESSIONS = ("NonMaxSuppression", "EfficientNMS", "BatchedNMS", "NMS")


def onnx_origins(path: Path, sides: tuple[int, int, int], layout: str, image: str) -> Origins:
    """Of every output of the graph at `path`, for an image of `sides` (C, H, W) at `image`."""
    proto = onnx.load(path, load_external_data=False)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    makers = {name: node for node in proto.graph.node for name in node.output}
    fix_input(proto, sides, layout, image)
    shapes = _Lengths(proto, path.parent)
    return Origins(
        {item.name: _origin(item.name, makers, shapes) for item in proto.graph.output},
        suppresses=any(node.op_type.startswith(_SUPPRESSIONS) for node in proto.graph.node),
        stated=next((p.value for p in proto.metadata_props if p.key == "task"), ""),
    )


class _Lengths:
    """Lengths of axes: inferred, or seen in a run where inference does not get so far."""

    def __init__(self, proto: onnx.ModelProto, folder: Path) -> None:
        self._proto, self._folder = proto, folder
        self._inferred = inferred_shapes(proto)
        self._seen: Shapes | None = None

    def of(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; () where it is not known."""
        if name not in self._inferred and self._seen is None:
            self._seen = shapes_in_a_run(self._proto, self._folder)
        return self._inferred.get(name) or (self._seen or {}).get(name, ())


def _origin(name: str, makers: Mapping[str, onnx.NodeProto], shapes: _Lengths) -> Origin:
    node = makers.get(name)
    passed = 0
    while node is not None and (node.op_type in _PASSING or _is_nearest(node)):
        name, passed = node.input[0], passed + 1
        node = makers.get(name) if passed < len(makers) else None  # a damaged graph has circles
    if node is None:
        return UNKNOWN
    if node.op_type == "TopK" and name == node.output[1]:
        return Origin("topk-index", _length(node, shapes))
    if node.op_type == "Add" and any(_is_product(makers.get(source)) for source in node.input):
        return Origin("linear")
    if node.op_type == "Div" and _is_length(makers.get(node.input[1]), makers):
        return Origin("normalize")
    length = _length(node, shapes) if node.op_type in ("ArgMax", "TopK") else None
    return Origin(_MAKERS.get(node.op_type, ""), length)


def _is_nearest(node: onnx.NodeProto) -> bool:
    """Pixels repeated or left out, but not mixed."""
    if node.op_type not in ("Resize", "Upsample"):
        return False
    modes = [a.s for a in node.attribute if a.name == "mode"]
    return not modes or modes == [b"nearest"]


def _is_product(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type in ("MatMul", "MatMulInteger", "Conv")


def _is_length(node: onnx.NodeProto | None, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether it is the norm of a vector, kept from zero and spread over it."""
    for _ in range(8):
        if node is None or node.op_type not in ("Clip", "Expand", "Add", "Max", "Identity", "Sqrt"):
            break
        node = makers.get(node.input[0])
    return node is not None and node.op_type in ("ReduceL2", "ReduceSumSquare", "ReduceSum")


def _length(node: onnx.NodeProto, shapes: _Lengths) -> int | None:
    """Of the axis that is searched; ArgMax goes along the first by default, TopK the last."""
    shape = shapes.of(node.input[0])
    default = 0 if node.op_type == "ArgMax" else -1
    axis = next((a.i for a in node.attribute if a.name == "axis"), default)
    return shape[axis] if shape and -len(shape) <= axis < len(shape) else None
