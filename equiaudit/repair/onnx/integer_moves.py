"""What only moves or compares values, done on the integers in front of `DequantizeLinear`.

A runtime computes a convolution in integers where `DequantizeLinear` stands directly before it.
A circular padding or a crop between the two would have it computed in float32. Moved in front,
it yields the same values: each of them stands for one integer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, numpy_helper

from equiaudit.models.onnx_functions import every_node

__all__ = ["moved_onto_integers"]

_MOVING = frozenset((
    "Expand", "Flatten", "Gather", "GatherElements", "MaxPool", "Pad", "Reshape", "Slice",
    "Squeeze", "Transpose", "Unsqueeze",
))  # fmt: skip
"""Operators of one tensor of values, the first input; the others say where. `Concat`, and `Where`
and `Pad` that fill with zeros, are moved too."""
_NARROW = (TensorProto.UINT8, TensorProto.INT8)
"""Types that onnxruntime has all of these operators for."""


@dataclass(frozen=True)
class _Decoded:
    """Where values come from: integers, and the names of their scale and zero point."""

    integers: str
    how: tuple[str, ...]
    key: tuple[tuple[int, bytes], ...]
    """Their types and contents: equal ones are the same scale under whatever name."""


def moved_onto_integers(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, TensorProto],
    outputs: Sequence[str],
) -> list[onnx.NodeProto]:
    """`nodes`, in their order, with moves in front of each `DequantizeLinear` of one scale.

    `constants` are the graph's, `outputs` the names that it returns. No result changes.
    """
    decoded: dict[str, _Decoded] = {}
    made: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type == "DequantizeLinear":
            found = _decoded(node, constants)
            if found is not None:
                decoded[node.output[0]] = found
        source = _source(node, decoded, constants)
        made += [node] if source is None else _behind(node, source, decoded)
    return _read(made, outputs)


def _decoded(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> _Decoded | None:
    how = [constants.get(name) for name in node.input[1:]]
    narrow = len(how) == 2 and how[1] is not None and how[1].data_type in _NARROW
    whole = all(item is not None and not item.dims for item in how)
    if node.input[0] in constants or not narrow or not whole:
        return None
    key = tuple((item.data_type, item.raw_data or item.SerializeToString()) for item in how if item)
    return _Decoded(node.input[0], tuple(node.input[1:]), key)


def _source(
    node: onnx.NodeProto,
    decoded: Mapping[str, _Decoded],
    constants: Mapping[str, TensorProto],
) -> _Decoded | None:
    """What all values of a move come from, or None."""
    names = [node.input[i] if i < len(node.input) else "" for i in _values(node)]
    found = [decoded[name] for name in names if name in decoded]
    fill = node.op_type in ("Where", "Pad")
    rest = [name for name in names if name not in decoded]
    zeros = all(fill and (not name or _is_zero(constants.get(name))) for name in rest)
    return found[0] if zeros and len({part.key for part in found}) == 1 else None


def _values(node: onnx.NodeProto) -> Sequence[int]:
    """Which inputs of a move are values; none of any other operator."""
    if node.op_type == "Concat":
        return range(len(node.input))
    if node.op_type == "Where":
        return (1, 2)
    if node.op_type == "Pad" and _mode(node) == "constant":
        return (0, 2)
    return (0,) if node.op_type in _MOVING and len(node.output) == 1 else ()


def _is_zero(item: TensorProto | None) -> bool:
    """A number that every zero point stands for."""
    return item is not None and not item.dims and not numpy_helper.to_array(item).any()


def _mode(node: onnx.NodeProto) -> str:
    found = [a.s.decode() for a in node.attribute if a.name == "mode"]
    return found[0] if found else "constant"


def _behind(
    node: onnx.NodeProto, source: _Decoded, decoded: dict[str, _Decoded]
) -> list[onnx.NodeProto]:
    """The move of integers, and what decodes its result."""
    name = node.output[0]
    moved = onnx.NodeProto()
    moved.CopyFrom(node)
    zero = source.how[1]
    for i in _values(node):
        moved.input.extend([""] * (i + 1 - len(moved.input)))
        part = decoded.get(moved.input[i])
        moved.input[i] = part.integers if part else zero
    moved.output[0] = f"{name}_integers"
    decoded[name] = _Decoded(moved.output[0], source.how, source.key)
    inputs = [moved.output[0], *source.how]
    return [moved, helper.make_node("DequantizeLinear", inputs, [name], f"{name}_Dequantize")]


def _read(nodes: list[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Those that something reads."""
    used = {name for node in every_node(nodes) for name in node.input} | {*outputs}
    kept = [node for node in nodes if used.intersection(node.output)]
    return kept if len(kept) == len(nodes) else _read(kept, outputs)
