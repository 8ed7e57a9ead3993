"""`canonical` in ONNX files that are exported from torch: the same nodes as for other files.

torch's exporter passes operators of another domain through; what it made of them is then
replaced by the nodes that `canonical_onnx` would have put in front of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, fx, nn

from equiaudit.errors import RunError
from equiaudit.repair.canonical.onnx_file import free_prefix, roll
from equiaudit.repair.canonical.onnx_nodes import Writer
from equiaudit.repair.canonical.onnx_position import Image, position
from equiaudit.repair.canonical.operators import ORIGIN, ROLL
from equiaudit.repair.canonical.torch_files import replaced_calls

_DOMAIN = "equiaudit"
_ORIGIN, _ROLL = "CanonicalOrigin", "RollBy"
_ELEMENTS: Mapping[torch.dtype, int] = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.float64: TensorProto.DOUBLE,
    torch.uint8: TensorProto.UINT8,
}
_SIDES = ("channels", "height", "width")


def with_symbols(plain: fx.GraphModule) -> fx.GraphModule:
    """A graph whose calls of `ORIGIN` and `ROLL` pass through torch.onnx.export; in place."""
    replaced_calls(plain, ORIGIN, lambda node: _Origin())
    return replaced_calls(plain, ROLL, lambda node: _Roll())


def with_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """What was exported of `with_symbols`, in operators of ONNX alone; in place."""
    entries = [entry for entry in model.opset_import if entry.domain == _DOMAIN]
    if not entries:
        return model
    (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    writer = Writer(opset, free_prefix(model.graph))
    for node in model.graph.node:
        _write(writer, node)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    for entry in entries:
        model.opset_import.remove(entry)
    return model


class _Origin(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _symbol(_ORIGIN, x, [x], torch.int64, (x.shape[0], 2))


class _Roll(nn.Module):
    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        return _symbol(_ROLL, x, [x, offsets], x.dtype, tuple(x.shape))


def _symbol(
    name: str, image: Tensor, inputs: list[Tensor], dtype: torch.dtype, shape: tuple[Any, ...]
) -> Tensor:
    """A node of the domain that knows the sides of `image`."""
    sides = {side: int(image.shape[k + 1]) for k, side in enumerate(_SIDES)}
    result: Tensor = torch.onnx.ops.symbolic(
        f"{_DOMAIN}::{name}",
        inputs,
        {**sides, "element": _element(image.dtype)},
        dtype=dtype,
        shape=shape,
        version=1,
    )
    return result


def _element(dtype: torch.dtype) -> int:
    if dtype not in _ELEMENTS:
        raise RunError(f"Images of {dtype} cannot be rolled in ONNX; floats and uint8 can.")
    return _ELEMENTS[dtype]


def _write(w: Writer, node: onnx.NodeProto) -> None:
    if node.domain != _DOMAIN:
        w.nodes.append(node)
        return
    write = _WRITTEN.get(node.op_type)
    if write is None:
        raise RunError(f"{node.name} is of the domain {_DOMAIN}, which has no {node.op_type}.")
    made = write(w, list(node.input), {a.name: a.i for a in node.attribute})
    w.nodes.append(helper.make_node("Identity", [made], node.output, name=node.name))


def _write_origin(w: Writer, inputs: list[str], sides: Mapping[str, int]) -> str:
    (x,) = inputs
    batch = w.slice(w("Shape", x), 0, 0, 1)
    channels, height, width = (sides[side] for side in _SIDES)
    return position(w, Image(x, x, sides["element"], batch, channels, height, width))


def _write_roll(w: Writer, inputs: list[str], sides: Mapping[str, int]) -> str:
    x, offsets = inputs
    size = (sides["height"], sides["width"])
    starts = w("Mod", w("Neg", offsets), w.constant(size))
    batch = w.slice(w("Shape", x), 0, 0, 1)
    return roll(
        w, x, starts, element=sides["element"], batch=batch, axes=(2, 3), rows=sides["height"]
    )


_WRITTEN: Mapping[str, Callable[[Writer, list[str], Mapping[str, int]], str]] = {
    _ORIGIN: _write_origin,
    _ROLL: _write_roll,
}
