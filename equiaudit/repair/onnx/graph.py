"""An `fx.Graph` of aten operators under construction, its constants folded."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo
from equiaudit.repair.onnx.reader import CANONICAL_TIP
from equiaudit.repair.onnx.values import BATCH, Extent, Untranslated, Value, is_batch
from equiaudit.torch_private import tree_leaves, tree_map

_LARGEST = 1 << 27
"""Elements of a tensor, per image; anything larger is no image model."""
_CONSTANTS = 1 << 29
"""Elements of all constants that are computed from others: as many as a file of 2 GiB holds."""
_RESERVED = frozenset(dir(nn.Module()))


class GraphBuilder:
    """The graph under construction, and what is known of each tensor of the file by name."""

    def __init__(self, fixed_batch: int | None = None) -> None:
        self.graph = fx.Graph()
        self.values: dict[str, Value] = {}
        self.wanted: set[str] = set()
        self.fixed_batch = fixed_batch
        self._tensors: dict[str, torch.Tensor] = {}
        self._attributes: dict[int, fx.Node] = {}
        self._batch: fx.Node | None = None
        self.place = ""
        self._constants = 0

    def add_image(self, name: str, shape: Sequence[int], *, nhwc: bool) -> None:
        """The placeholder; a file that takes (N, H, W, C) gets it permuted."""
        node = self.graph.placeholder("image")
        data = torch.empty((BATCH, *shape), device="meta")
        node.meta["val"] = data
        image = Value(data, node)
        self._image = node
        if nhwc:
            (image,) = self.emit(torch.ops.aten.permute.default, image, [0, 2, 3, 1])
        self.values[name] = image

    def emit(self, target: Any, *args: Any, **kwargs: Any) -> list[Value]:
        """Call an aten operator on Values, for its results; folded where all are constant."""
        leaves = [v for v in tree_leaves((args, kwargs)) if isinstance(v, Value)]
        meta = _shapes(target, args, kwargs)
        for item in tree_leaves(meta):
            _check_shape(item)
        if all(value.is_constant for value in leaves):
            self._count_constants(meta)
            return _folded(target, args, kwargs, leaves)
        mapped, named = tree_map(self._argument, (args, kwargs))
        node = self.graph.call_function(target, mapped, named)
        node.meta["val"] = meta
        node.meta["nn_module_stack"] = {f"L__self__{self.place}": (self.place, "")}
        return self._results(node, meta)

    def _count_constants(self, meta: Any) -> None:
        self._constants += sum(
            item.numel() for item in tree_leaves(meta) if isinstance(item, torch.Tensor)
        )
        if self._constants > _CONSTANTS:
            raise Untranslated(f"the model's constants have more than {_CONSTANTS} elements")

    def spread(self, value: Value, shape: Sequence[int]) -> Value:
        """A constant expanded to a shape that holds the batch; never folded."""
        data = value.data.to("meta").expand(tuple(shape))
        _check_shape(data)
        sizes = [self._size(size) for size in shape]
        node = self.graph.call_function(
            torch.ops.aten.expand.default, (self._attribute(value), sizes)
        )
        node.meta["val"] = data
        return Value(data, node)

    def count(self, size: int) -> Value:
        """0, 1, 2, ... up to a multiple of the batch."""
        data = torch.empty(size, dtype=torch.int64, device="meta")
        node = self.graph.call_function(torch.ops.aten.arange.default, (self._size(size),))
        node.meta["val"] = data
        return Value(data, node)

    def _results(self, node: fx.Node, meta: Any) -> list[Value]:
        if isinstance(meta, torch.Tensor):
            return [Value(meta, node)]
        values = []
        for i, item in enumerate(meta):
            part = self.graph.call_function(operator.getitem, (node, i))
            part.meta["val"] = item
            values.append(Value(item, part))
        return values

    def _argument(self, item: Any) -> Any:
        if isinstance(item, Value):
            return item.node if item.node is not None else self._attribute(item)
        return self._size(item.size) if isinstance(item, Extent) else item

    def _size(self, size: int) -> int | fx.Node:
        if not is_batch(size):
            return size
        if self._batch is None:
            with self.graph.inserting_after(self._image):
                target = torch.ops.aten.sym_size.int
                self._batch = self.graph.call_function(target, (self._image, 0))
        times = size // BATCH
        if times == 1:
            return self._batch
        return self.graph.call_function(operator.mul, (self._batch, times))

    def _attribute(self, value: Value) -> fx.Node:
        """The constant as a parameter (or buffer) of the module."""
        refuse_batch(value)
        known = self._attributes.get(id(value.data))
        if known is not None:
            return known
        name = self._free_name(value.name or "constant")
        # Keeping the tensor keeps its id from being used again.
        self._tensors[name] = value.data
        node = self._attributes[id(value.data)] = self.graph.get_attr(name)
        node.meta["val"] = value.data.to("meta")
        return node

    def _free_name(self, wanted: str) -> str:
        """A dotted name that a module tree can hold, none a part of another."""
        parts = [re.sub(r"\W", "_", part) for part in wanted.split(".") if part]
        name = ".".join(f"{p}_" if p in _RESERVED else p for p in parts) or "constant"
        taken = {t.rsplit(".", i)[0] for t in self._tensors for i in range(t.count(".") + 1)}
        ways = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
        if name not in taken and not set(ways) & self._tensors.keys():
            return name
        flat = name.replace(".", "_")
        return next(n for i in range(len(taken) + 1) if (n := f"{flat}_{i}") not in taken)

    def module(self, outputs: Sequence[str]) -> fx.GraphModule:
        """The finished module, in eval mode; its parameters do not require gradients."""
        nodes = [self._output(name) for name in outputs]
        self.graph.output(nodes[0] if len(nodes) == 1 else tuple(nodes))
        tensors = {name: _frozen(value) for name, value in self._tensors.items()}
        module = fx.GraphModule(tensors, self.graph, "Onnx")
        return module.eval()

    def _output(self, name: str) -> fx.Node:
        value = self.values.get(name)
        if value is None or value.node is None:
            raise NothingToDo(
                f"The output {name!r} does not depend on the image.", tip=CANONICAL_TIP
            )
        return value.node


def _call(target: Any, args: Any, kwargs: Any, convert: Any) -> Any:
    args, kwargs = tree_map(convert, (args, kwargs))
    with torch.no_grad():
        return target(*args, **kwargs)


def _shapes(target: Any, args: Any, kwargs: Any) -> Any:
    """The result on the meta device."""
    try:
        return _call(target, args, kwargs, _on_meta)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise Untranslated("its result is absurdly large") from error


def _on_meta(item: Any) -> Any:
    if isinstance(item, Value):
        return item.data.to("meta")
    return item.size if isinstance(item, Extent) else item


def _as_data(item: Any) -> Any:
    if isinstance(item, Value):
        return item.data
    return item.size if isinstance(item, Extent) else item


def _check_shape(item: Any) -> None:
    """Every size a number or a whole number of batches, and nothing absurdly large."""
    if not isinstance(item, torch.Tensor):
        return
    batches = [size // BATCH for size in item.shape if is_batch(size)]
    if any(size > BATCH // 2 and not is_batch(size) for size in item.shape) or len(batches) > 1:
        raise Untranslated("the size of its result depends on the batch or is absurdly large")
    elements = item.numel() // BATCH if batches else item.numel()
    if elements > _LARGEST:
        raise Untranslated(f"its result would have {elements} elements")


def _folded(target: Any, args: Any, kwargs: Any, leaves: Sequence[Value]) -> list[Value]:
    result = _call(target, args, kwargs, _as_data)
    sized = any(value.sized for value in leaves)
    name = next((value.name for value in leaves if value.name), "")
    parts = [result] if isinstance(result, torch.Tensor) else result
    return [Value(part.contiguous(), None, sized, name) for part in parts]


def refuse_batch(value: Value) -> None:
    """The batch may give a shape, but is no number to compute with."""
    if value.sized and bool((value.data.abs() > BATCH // 2).any()):
        raise Untranslated("it computes with the batch size")


def _frozen(value: torch.Tensor) -> torch.Tensor:
    return nn.Parameter(value, requires_grad=False) if value.is_floating_point() else value
