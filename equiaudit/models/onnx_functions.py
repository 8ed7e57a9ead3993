"""Functions of an ONNX file, which grow when they are put in place of their calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from equiaudit.errors import InputError
from equiaudit.models.onnx_proto import GraphProto, ModelProto, NodeProto, TensorProto

_MOST_NODES = 100_000

_Name = tuple[str, str]  # domain and name


def check_functions(model: ModelProto, *, what: str) -> None:
    """Raises InputError where a function of `model` calls itself, or the nodes are too many.

    onnx and onnxruntime put a function in the place of each call: thirty functions that call
    one another twice are a billion nodes.
    """
    calls: dict[_Name, Counter[_Name]] = {}
    for function in model.functions:
        name = (function.domain, function.name)
        calls[name] = calls.get(name, Counter()) + _calls(function.node)
    sizes: dict[_Name, int] = {}
    for name in _callees_first(calls, what):
        sizes[name] = _inlined(calls[name], sizes)
    if _inlined(_calls(model.graph.node), sizes) > _MOST_NODES:
        raise InputError(
            f"{what} has more than {_MOST_NODES:,} nodes, those of functions included."
        )


def every_node(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Each node, those of sub-graphs too; protobuf bounds how deep they nest."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from every_node(graph.node)


def constant_tensors(graph: GraphProto) -> dict[str, TensorProto]:
    """Initialisers and the values of Constant nodes that are inside the file, by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    inside = TensorProto.EXTERNAL
    return {name: tensor for name, tensor in tensors.items() if tensor.data_location != inside}


def sort_nodes(graph: GraphProto) -> bool:
    """Put the nodes in an order in which each comes after what it reads; whether any moved.

    Some converters of float16 append their casts at the end. Nodes that are in order stay as
    they are. Raises InputError where nodes wait for one another.
    """
    made = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = {
        i: {made[name] for each in every_node([node]) for name in each.input if name in made} - {i}
        for i, node in enumerate(graph.node)
    }
    if all(max(before, default=-1) < i for i, before in needs.items()):
        return False
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        name = graph.node[error.args[1][0]].name
        raise InputError(f"The nodes of the ONNX model wait for one another ({name!r}).") from error
    nodes = [graph.node[i] for i in order]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return True


def _calls(nodes: Iterable[NodeProto]) -> Counter[_Name]:
    return Counter((node.domain, node.op_type) for node in every_node(nodes))


def _callees_first(calls: Mapping[_Name, Counter[_Name]], what: str) -> list[_Name]:
    order = TopologicalSorter({name: own.keys() & calls.keys() for name, own in calls.items()})
    try:
        return list(order.static_order())
    except CycleError as error:
        raise InputError(f"The function {error.args[1][0][1]!r} of {what} calls itself.") from error


def _inlined(calls: Counter[_Name], sizes: Mapping[_Name, int]) -> int:
    """The nodes after all calls are replaced, counted no further than one above the most."""
    total = sum(count * sizes.get(name, 1) for name, count in calls.items())
    return min(total, _MOST_NODES + 1)
