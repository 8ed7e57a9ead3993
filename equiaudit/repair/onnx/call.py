"""One node of the file, as its translation sees it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import onnx
import torch

from equiaudit.repair.onnx.graph import GraphBuilder
from equiaudit.repair.onnx.reader import tensor
from equiaudit.repair.onnx.values import BATCH, Extent, Untranslated, Value, is_batch


class Call:
    """The inputs and attributes of a node, and the way to emit aten operators for it."""

    def __init__(
        self,
        graph: GraphBuilder,
        node: onnx.NodeProto,
        inputs: Sequence[Value | None],
        opset: int,
    ) -> None:
        self.op = node.op_type
        self.opset = opset
        self.inputs = inputs
        self.outputs = len(node.output)
        self.fixed_batch = graph.fixed_batch
        self._graph = graph
        self._attributes = {a.name: a for a in node.attribute}
        self._read: set[str] = set()

    def like(self, op: str, inputs: Sequence[Value | None]) -> Call:
        """The node as another operator with the same attributes, on other inputs."""
        other = copy.copy(self)  # what it reads counts for this one
        other.op, other.inputs = op, inputs
        return other

    def emit(self, target: Any, *args: Any, **kwargs: Any) -> Value:
        """Call an aten operator of one result; folded where all Values are constant."""
        (value,) = self._graph.emit(target, *args, **kwargs)
        return value

    def emit_parts(self, target: Any, *args: Any, **kwargs: Any) -> list[Value]:
        """Call an aten operator of several results."""
        return self._graph.emit(target, *args, **kwargs)

    def input(self, index: int) -> Value:
        """An input that must be there."""
        value = self.optional(index)
        if value is None:
            raise Untranslated(f"its input {index} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        """An input, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def image(self) -> Value:
        """Input 0, which must have the axes (N, C, H, W)."""
        x = self.input(0)
        if x.ndim != 4:
            raise Untranslated(f"its input has {x.ndim} axes, not the 4 of a batch of maps")
        return x

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute as Python's value; a text is decoded, a tensor read."""
        self._read.add(name)
        if name not in self._attributes:
            return default
        value: Any = onnx.helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, onnx.TensorProto):
            return tensor(value)
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value

    def ignore(self, *names: str) -> None:
        """Attributes that say nothing about the result in eval mode."""
        self._read |= set(names)

    def require(self, name: str, *allowed: Any) -> None:
        """An attribute that must have its default, the first of `allowed`, or another of them."""
        value = self.attr(name, allowed[0])
        if value not in allowed:
            raise Untranslated(f"its attribute {name} is {value!r}")

    def check_attributes(self) -> None:
        """Untranslated where the node has an attribute that nobody asked for."""
        unread = sorted(self._attributes.keys() - self._read)
        if unread:
            raise Untranslated(f"its attribute {unread[0]} is not known")

    def ints(self, value: Value | None, what: str) -> list[int] | None:
        """A constant input as whole numbers; the batch among them is a multiple of `BATCH`."""
        if value is None:
            return None
        return [int(v) for v in self._constant(value, what).reshape(-1).tolist()]

    def numbers(self, value: Value | None, what: str) -> list[float] | None:
        """A constant input as floating point numbers."""
        if value is None:
            return None
        return [float(v) for v in self._constant(value, what).reshape(-1).tolist()]

    def number(self, value: Value | None, what: str) -> float | None:
        """A constant input of one element."""
        numbers = self.numbers(value, what)
        if numbers is not None and len(numbers) != 1:
            raise Untranslated(f"its {what} has {len(numbers)} elements, not 1")
        return None if numbers is None else numbers[0]

    def axes(self, since: int, index: int = 1) -> list[int] | None:
        """The attribute `axes`, an input from opset `since` on."""
        if self.opset < since:
            return self.attr("axes")  # type: ignore[no-any-return]
        return self.ints(self.optional(index), "axes")

    def _constant(self, value: Value, what: str) -> torch.Tensor:
        if not value.is_constant:
            raise Untranslated(f"its {what} is computed from the image")
        return value.data

    def constant(self, array: torch.Tensor, name: str = "") -> Value:
        """A new constant."""
        return Value(array, name=name)

    def scalar(self, value: Value) -> Any:
        """A constant of one element as a Python number, which broadcasts alike; else itself."""
        plain = value.is_constant and value.data.numel() == 1 and value.ndim <= 1
        return value.data.item() if plain and not value.sized else value

    def spread_constant(self, x: Value, shape: Sequence[int]) -> Value:
        """A constant expanded over the batch, as an operator of the graph."""
        return self._graph.spread(x, shape)

    def count(self, size: int) -> Value:
        """0, 1, 2, ... up to a multiple of the batch, as an operator of the graph."""
        return self._graph.count(size)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """`aten.reshape`; the batch axis is given as -1 where that is unambiguous."""
        batches = [i for i, size in enumerate(shape) if is_batch(size)]
        sizes: list[int | Extent] = [Extent(size) for size in shape]
        elements = math.prod(shape)
        if len(batches) == 1 and elements > 0:
            sizes[batches[0]] = -1
        if elements != math.prod(x.shape):
            raise Untranslated(f"it cannot make {readable(shape)} of {readable(x.shape)}")
        return x if tuple(shape) == x.shape else self.emit(_RESHAPE, x, sizes)


_RESHAPE = torch.ops.aten.reshape.default


def readable(shape: Sequence[int]) -> str:
    """Nx64x7x7."""
    names = [f"{s // BATCH if s > BATCH else ''}N" if is_batch(s) else str(s) for s in shape]
    return "x".join(names) or "a number"
