"""The integers of a quantised file, and how they come back into the file that is written.

A graph that was imported holds (q - zero point) * scale for every integer q. What is written has
the stored integers again, each behind a `DequantizeLinear`, and a `QuantizeLinear` with a
`DequantizeLinear` wherever the graph rounds to a scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from equiaudit.models.onnx_functions import constant_tensors, every_node
from equiaudit.repair.onnx.integer_moves import moved_onto_integers

_Array = NDArray[Any]
_LIMITS: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
}
MICROSOFT = "com.microsoft"
_WIDE = (TensorProto.UINT16, TensorProto.INT16)
"""Types that onnxruntime's own domain rounds to in any operator set, ONNX's from 21 on."""
# (value, scale, zero point) among the inputs, and the axis of its channels.
_STORED = {
    "DequantizeLinear": [(0, 1, 2, 1)],
    "QLinearConv": [(3, 4, 5, 0)],
    "QLinearMatMul": [(3, 4, 5, 1)],
    "QGemm": [(3, 4, 5, 1)],
}
# The bias, and the two scales that make its own.
_BIASES = {"QLinearConv": (8, 1, 4), "QGemm": (6, 1, 4)}
# Where the scale of the result is among the inputs.
_RESULTS = {
    "QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6,
    "QLinearMul": 6, "QLinearGlobalAveragePool": 3, "QLinearAveragePool": 3, "QLinearSigmoid": 3,
    "QLinearLeakyRelu": 3, "QLinearConcat": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Integers:
    """A stored tensor: (q - zero) * scale along `axis`."""

    q: _Array
    scale: _Array
    zero: _Array | None
    axis: int

    def values(self) -> _Array:
        """What the integers stand for, float32, as the import computes it."""
        wide = self.q.astype("float32")
        if self.zero is not None:
            wide = wide - self._along(self.zero.astype("float32"))
        return np.asarray(wide * self._along(self.scale), dtype="float32")

    def _along(self, value: _Array) -> _Array:
        if value.size == 1:
            return value.reshape(())
        shape = [1] * self.q.ndim
        shape[self.axis % self.q.ndim] = -1
        return value.reshape(shape)

    def turned(self) -> Integers:
        """A matrix with its axes swapped."""
        return Integers(self.q.T, self.scale, self.zero, 1 - self.axis % 2)


@dataclass(frozen=True)
class Quantised:
    """What a file has of integers: those that it stores, and the scales that it rounds to."""

    stored: tuple[Integers, ...] = ()
    rounding: Mapping[tuple[float, float, float], tuple[int, int]] = field(default_factory=dict)
    """(scale, lowest integer less the zero point) to (type, zero point)."""

    def __bool__(self) -> bool:
        return bool(self.rounding)


def quantised(model: onnx.ModelProto) -> Quantised:
    """The integers of `model`; false where it rounds to no scale."""
    tensors = constant_tensors(model.graph)
    arrays = _Arrays(tensors)
    stored: list[Integers] = []
    rounding: dict[tuple[float, float, float], tuple[int, int]] = {}
    for node in model.graph.node:
        stored += _stored(node, arrays)
        place = _RESULTS.get(node.op_type)
        scale = None if place is None else arrays.of(node, place)
        if place is None or scale is None or scale.size != 1:
            continue
        zero = arrays.of(node, place + 1)
        kind = TensorProto.UINT8 if zero is None else helper.np_dtype_to_tensor_dtype(zero.dtype)
        if kind in _LIMITS and (zero is None or zero.size == 1):
            point = 0 if zero is None else int(zero.reshape(-1)[0])
            low, high = (float(limit - point) for limit in _LIMITS[kind])
            rounding[float(scale.reshape(-1)[0]), low, high] = (kind, point)
    return Quantised(tuple(stored), rounding)


class _Arrays:
    """Constants of a graph by node and place."""

    def __init__(self, tensors: Mapping[str, TensorProto]) -> None:
        self._tensors = tensors

    def of(self, node: onnx.NodeProto, place: int) -> _Array | None:
        name = node.input[place] if place < len(node.input) else ""
        return numpy_helper.to_array(self._tensors[name]) if name in self._tensors else None


def _stored(node: onnx.NodeProto, arrays: _Arrays) -> Iterator[Integers]:
    options = {a.name: a.i for a in node.attribute}
    for q, scale, zero, axis in _STORED.get(node.op_type, ()):
        value, step = arrays.of(node, q), arrays.of(node, scale)
        if value is not None and step is not None and value.dtype.kind in "iu" and value.ndim:
            if node.op_type == "QGemm":
                axis = 0 if options.get("transB") else 1
            yield Integers(value, step, arrays.of(node, zero), options.get("axis", axis))
    if node.op_type in _BIASES:
        bias, a, b = (arrays.of(node, place) for place in _BIASES[node.op_type])
        if bias is not None and a is not None and b is not None:
            yield Integers(bias, np.asarray(b * a, dtype="float32").reshape(-1), None, 0)


def requantise(graph: onnx.GraphProto, known: Quantised) -> None:
    """Put the integers back into `graph`, which was exported from the float32 values."""
    _Requantised(graph, known).run()


class _Requantised:
    def __init__(self, graph: onnx.GraphProto, known: Quantised) -> None:
        self.graph, self.known = graph, known
        self.by_content: dict[tuple[tuple[int, ...], bytes], Integers] = {}
        for item in known.stored:
            ways = (item, item.turned()) if item.q.ndim == 2 else (item,)
            for way in ways:
                values = way.values()
                self.by_content[values.shape, values.tobytes()] = way

    def run(self) -> None:
        """First the tensors, then the operators."""
        decoders = [node for item in list(self.graph.initializer) for node in self._tensor(item)]
        nodes = self._rounded(list(self.graph.node))
        outputs = [item.name for item in self.graph.output]
        nodes = moved_onto_integers([*decoders, *nodes], constant_tensors(self.graph), outputs)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        used = {name for node in every_node(self.graph.node) for name in node.input}
        used |= {*outputs}
        kept = [item for item in self.graph.initializer if item.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _tensor(self, item: TensorProto) -> Iterator[onnx.NodeProto]:
        """The integers under another name, and what makes the values of them."""
        if item.data_type != TensorProto.FLOAT or not item.dims:
            return
        values = numpy_helper.to_array(item)
        found = self.by_content.get((values.shape, values.tobytes()))
        if found is None:
            return
        name = item.name
        inputs = [f"{name}_quantized", f"{name}_scale"]
        item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(found.q), inputs[0]))
        flat = found.scale.reshape(() if found.scale.size == 1 else (-1,))
        self._constant(inputs[1], flat)
        if found.zero is not None:
            inputs.append(f"{name}_zero_point")
            self._constant(inputs[2], found.zero.reshape(flat.shape))
        place = {"domain": MICROSOFT} if item.data_type in _WIDE else {}
        node = helper.make_node(
            "DequantizeLinear", inputs, [name], f"{name}_DequantizeLinear", **place
        )
        if flat.ndim:
            node.attribute.append(helper.make_attribute("axis", found.axis))
        yield node

    def _constant(self, name: str, value: _Array) -> None:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    def _rounded(self, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Div, Round, Clip, Mul by a known scale: as QuantizeLinear and DequantizeLinear."""
        arrays = _Arrays(constant_tensors(self.graph))
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        replaced: dict[str, list[onnx.NodeProto]] = {}
        dropped: set[str] = set()
        for node in nodes:
            chain = _chain(node, readers)
            made = self._pair(chain, arrays) if chain else []
            if made:
                replaced[chain[-1].output[0]] = made
                dropped |= {each.output[0] for each in chain[:-1]}
        return [
            new
            for node in nodes
            if node.output[0] not in dropped
            for new in replaced.get(node.output[0], [node])
        ]

    def _pair(self, chain: list[onnx.NodeProto], arrays: _Arrays) -> list[onnx.NodeProto]:
        div, _, clip, mul = chain
        steps = [arrays.of(node, 1) for node in (div, mul)]
        limits = [arrays.of(clip, place) for place in (1, 2)]
        if any(s is None or s.size != 1 for s in (*steps, *limits)) or steps[0] != steps[1]:
            return []
        scale = np.asarray(steps[0], dtype="float32").reshape(())
        low, high = (float(np.asarray(limit).reshape(-1)[0]) for limit in limits)
        key = (float(scale), low, high)
        if key not in self.known.rounding:
            return []
        kind, point = self.known.rounding[key]
        name = mul.output[0]
        scale_name, zero_name, middle = f"{name}_scale", f"{name}_zero_point", f"{name}_quantized"
        self._constant(scale_name, scale)
        self._constant(zero_name, np.asarray(point, dtype=helper.tensor_dtype_to_np_dtype(kind)))
        how = [scale_name, zero_name]
        place = {"domain": MICROSOFT} if kind in _WIDE else {}
        made = [
            ("QuantizeLinear", [div.input[0], *how], [middle], f"{name}_Quantize"),
            ("DequantizeLinear", [middle, *how], [name], f"{name}_Dequantize"),
        ]
        return [helper.make_node(*each, **place) for each in made]


def _chain(
    node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]
) -> list[onnx.NodeProto]:
    """Div, Round, Clip and Mul, each read by the next alone; else nothing."""
    chain = [node]
    for kind in ("Div", "Round", "Clip", "Mul"):
        if chain[-1].op_type != kind:
            return []
        if kind == "Mul":
            return chain
        following = readers.get(chain[-1].output[0], [])
        if len(following) != 1 or following[0].input[0] != chain[-1].output[0]:
            return []
        chain.append(following[0])
    return []
