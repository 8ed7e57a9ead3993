"""Writing ONNX nodes in the operator set of a file that is already there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

END = 2**31 - 1
"""As the end of a slice: as far as there is anything."""

Extent = int | str
"""The length of an axis: a number, or the name of a tensor (1,) int64 that holds it."""

_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMax": 18, "ReduceMin": 18}
_ROUND_SINCE = 11
_MAGIC = 1.5 * 2.0**23
"""Added and taken away again, it leaves a float32 rounded to even."""


@dataclass
class Writer:
    """Adds nodes of `opset` (10 or later), whose names all start with `prefix`.

    Constants are nodes, not initialisers: those of old files would have to be inputs too.
    Methods take and return names of tensors.
    """

    opset: int
    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output; returns its name."""
        return self.several(op, inputs, 1, **attributes)[0]

    def several(
        self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> tuple[str, ...]:
        """One node with several outputs."""
        name = self.name(op)
        names = tuple(f"{name}_{k}" for k in range(outputs)) if outputs > 1 else (name,)
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return names

    def name(self, hint: str) -> str:
        """A name no other tensor or node of the file has."""
        return f"{self.prefix}{next(self._numbers)}_{hint}"

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """A constant."""
        array = np.asarray(value, dtype)
        return self("Constant", value=numpy_helper.from_array(array))

    def branch(self) -> Writer:
        """A writer for a graph inside this one: it sees all names, and makes none of them."""
        return Writer(self.opset, self.prefix, [], self._numbers)

    def graph(
        self,
        outputs: Sequence[str],
        inputs: Sequence[onnx.ValueInfoProto] = (),
        element: int = TensorProto.INT64,
        elements: Sequence[int] | None = None,
        shape: Sequence[int | None] | None = None,
    ) -> onnx.GraphProto:
        """What was written as a graph inside another, whose `outputs` are all `element`.

        `shape` is that of all outputs, where it must be stated; None is a side not known.
        """
        kinds = elements or [element] * len(outputs)
        described = [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind in zip(outputs, kinds, strict=True)
        ]
        return helper.make_graph(self.nodes, self.name("graph"), list(inputs), described)

    def slice(self, x: str, axis: int, start: int | str, end: int | str, step: int = 1) -> str:
        """x[start:end:step] along one axis; bounds are numbers or names of tensors (1,)."""
        bounds = [b if isinstance(b, str) else self.constant([b]) for b in (start, end)]
        more = [self.constant([step])] if step != 1 else []
        return self("Slice", x, *bounds, self.constant([axis]), *more)

    def reduce(self, op: str, x: str, axes: Sequence[int], keep: bool = False) -> str:
        """ReduceSum, ReduceMax or ReduceMin over `axes`."""
        if self.opset >= _AXES_AS_INPUT[op]:
            return self(op, x, self.constant(axes), keepdims=int(keep))
        return self(op, x, axes=list(axes), keepdims=int(keep))

    def concat(self, axis: int, *pieces: str) -> str:
        """The pieces, one after the other."""
        return self("Concat", *pieces, axis=axis)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """x in another shape; 0 keeps a side and -1 is what is left."""
        return self("Reshape", x, self.constant(shape))

    def cast(self, x: str, element: int) -> str:
        """x as another type."""
        return self("Cast", x, to=element)

    def round(self, x: str) -> str:
        """To whole numbers, halves to even; float32 below 2^22."""
        if self.opset >= _ROUND_SINCE:
            return self("Round", x)
        magic = self.constant(_MAGIC, np.float32)
        return self("Sub", self("Add", x, magic), magic)

    def difference(self, x: str, axis: int) -> str:
        """x[k + 1] - x[k] along an axis."""
        return self("Sub", self.slice(x, axis, 1, END), self.slice(x, axis, 0, -1))

    def wrapped(self, x: str, axis: int, before: int, after: int) -> str:
        """x read as a circle along an axis: its end before it, its start after it."""
        ends = [self.slice(x, axis, -before, END)] if before else []
        starts = [self.slice(x, axis, 0, after)] if after else []
        return self.concat(axis, *ends, x, *starts)

    def extent(self, extent: Extent) -> str:
        """An extent as a tensor (1,) int64."""
        return extent if isinstance(extent, str) else self.constant([extent])

    def indices(self, extent: Extent) -> str:
        """0, 1, ... up to an extent: (n,) int64."""
        if isinstance(extent, int):
            return self.constant(np.arange(extent))
        one = numpy_helper.from_array(np.ones(1, np.int64))
        ones = self("ConstantOfShape", extent, value=one)
        return self.reshape(self("NonZero", ones), [-1])

    def choose(
        self,
        condition: str,
        then: Callable[[Writer], str],
        otherwise: Callable[[Writer], str],
        element: int = TensorProto.INT64,
    ) -> str:
        """If: the one or the other graph, of one output each."""
        graphs = {}
        for key, write in (("then_branch", then), ("else_branch", otherwise)):
            inner = self.branch()
            graphs[key] = inner.graph([write(inner)], element=element)
        return self("If", condition, **graphs)
