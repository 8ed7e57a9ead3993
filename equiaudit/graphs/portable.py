"""A graph made fit to leave the house: plain torch operators, no device written into it."""

from __future__ import annotations

import operator
import re
from typing import Any

import torch
from torch import fx

from equiaudit.errors import RunError
from equiaudit.graphs.integers import with_plain_integers
from equiaudit.torch_private import NATIVE_PAD, OpOverload, operator_name

aten = torch.ops.aten

_END = 2**63 - 1
_CONVERSIONS = ("to", "_to_copy")
_EXPORTERS_NAME = re.compile(r"val_\d+")
_FILLED = {"zeros": "new_zeros", "ones": "new_ones", "full": "new_full", "empty": "new_empty"}


def plain_graph(module: fx.GraphModule) -> fx.GraphModule:
    """A copy that shares `module`'s tensors and runs on whichever device they are moved to.

    A tensor that is made from numbers alone becomes a buffer; one whose size depends on the
    batch is made on the input's device. Raises RunError naming an operator that can be
    neither.
    """
    graph = fx.Graph()
    tensors = _tensors(module)
    twins: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        twins[node] = graph.node_copy(node, lambda source: twins[source])
    image = next(node for node in graph.nodes if node.op == "placeholder")
    for node in list(graph.nodes):
        if node.op in ("call_function", "call_method") and _names_a_device(node):
            _free(node, image, tensors)
    graph.lint()
    return fx.GraphModule(tensors, graph).train(module.training)


def with_own_names(module: fx.GraphModule) -> fx.GraphModule:
    """`module` itself, no tensor of it called ``val_1`` or so: torch.onnx names its own like that.

    A graph that came from such a file has those names, and two values of one name fail.
    """
    for node in module.graph.nodes:
        if node.op == "get_attr" and _EXPORTERS_NAME.fullmatch(str(node.target)):
            name, value = f"given_{node.target}", getattr(module, str(node.target))
            if isinstance(value, torch.nn.Parameter):
                module.register_parameter(name, value)
            else:
                module.register_buffer(name, value)
            node.target = name
    module.recompile()
    own = [*module.named_parameters(remove_duplicate=False)]
    for old, _ in [*own, *module.named_buffers(remove_duplicate=False)]:
        if _EXPORTERS_NAME.fullmatch(old):
            delattr(module, old)
    return module


def with_plain_sorts(module: fx.GraphModule) -> fx.GraphModule:
    """`module` itself, stable sorts written as torch.onnx knows them; ONNX sorts stably anyway."""
    for node in module.graph.nodes:
        if node.target is aten.sort.stable:
            dim, descending = node.kwargs["dim"], node.kwargs["descending"]
            node.target, node.args = aten.sort.default, (node.args[0], dim, descending)
            node.kwargs = {}
    module.recompile()
    return module


def scriptable(module: fx.GraphModule) -> fx.GraphModule:
    """`plain_graph`, with every aten overload called by its operator's name, as scripts do."""
    plain = with_plain_integers(plain_graph(module))
    for node in plain.graph.nodes:
        if node.target is aten.sym_size.int:
            node.target = aten.size
        elif isinstance(node.target, OpOverload):
            node.target = node.target.overloadpacket
    plain.recompile()
    return plain


def padded_by_slices(module: fx.GraphModule) -> fx.GraphModule:
    """Write every circular padding of a graph as slices that are concatenated, in place.

    The first rows and columns are put behind the last, and the last before the first. Raises
    RunError where a padding takes elements off.
    """
    for node in list(module.graph.nodes):
        if node.target in _PADS and _mode(node) == "circular":
            amounts: Any = node.args[1]
            if min(amounts) < 0:
                raise RunError(f"{node.name} takes elements off by a negative padding.")
            with module.graph.inserting_before(node):
                value: Any = node.args[0]
                for axis, (before, after) in enumerate(
                    zip(amounts[::2], amounts[1::2], strict=True)
                ):
                    value = _sliced(module.graph, value, -1 - axis, before, after)
            _replace(node, value)
    module.graph.lint()
    module.recompile()
    return module


_PADS = (torch.nn.functional.pad, NATIVE_PAD, aten.pad.default)


def _mode(node: fx.Node) -> object:
    return node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")


def _sliced(graph: fx.Graph, x: fx.Node, dim: int, before: int, after: int) -> fx.Node:
    pieces = [x]
    if before:
        pieces.insert(0, graph.call_function(aten.slice.Tensor, (x, dim, -before, _END)))
    if after:
        pieces.append(graph.call_function(aten.slice.Tensor, (x, dim, 0, after)))
    return x if len(pieces) == 1 else graph.call_function(aten.cat.default, (pieces, dim))


def _tensors(module: fx.GraphModule) -> dict[str, Any]:
    names = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    return {name: operator.attrgetter(name)(module) for name in sorted(names)}


def _names_a_device(node: fx.Node) -> bool:
    return any(isinstance(value, torch.device) for value in (*node.args, *node.kwargs.values()))


def _free(node: fx.Node, image: fx.Node, tensors: dict[str, Any]) -> None:
    name = operator_name(node.target) or getattr(node.target, "__name__", str(node.target))
    kwargs = {k: v for k, v in node.kwargs.items() if k not in ("device", "pin_memory", "layout")}
    if not node.all_input_nodes:
        _replace(node, _constant(node, tensors))
    elif name in _FILLED:
        with node.graph.inserting_before(node):
            method = node.graph.call_method(_FILLED[name], (image, *node.args), kwargs)
        _replace(node, method)
    elif name in _CONVERSIONS:
        _convert(node, kwargs)
    else:
        raise RunError(f"{node.name} ({name}) makes a tensor on one fixed device.")


def _constant(node: fx.Node, tensors: dict[str, Any]) -> fx.Node:
    function: Any = node.target
    attribute = f"constant_{node.name}"
    tensors[attribute] = function(*node.args, **node.kwargs)
    with node.graph.inserting_before(node):
        return node.graph.get_attr(attribute)


def _convert(node: fx.Node, kwargs: dict[str, Any]) -> None:
    """A move to a device is left out; a change of dtype that went with it stays."""
    dtype = kwargs.get("dtype", next((a for a in node.args if isinstance(a, torch.dtype)), None))
    if dtype is None:
        _replace(node, node.args[0])
        return
    with node.graph.inserting_before(node):
        _replace(node, node.graph.call_function(aten.to.dtype, (node.args[0], dtype)))


def _replace(node: fx.Node, value: Any) -> None:
    node.replace_all_uses_with(value)
    node.graph.erase_node(node)
