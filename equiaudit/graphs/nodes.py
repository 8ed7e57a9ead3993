"""Reading the nodes of an aten graph."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from typing import Any

import torch
import torch.fx as fx

from equiaudit.torch_private import OpOverload, schema_of

# Stands for every symbolic size. A large prime, so that no product of real sizes equals it.
SYMBOL = 1000003


def op_name(node: fx.Node) -> str:
    """`aten.conv2d.default` for a call of an aten operator, else the function's name."""
    if isinstance(node.target, OpOverload):
        return str(node.target)
    return getattr(node.target, "__name__", str(node.target))


def short_name(node: fx.Node) -> str:
    """`conv2d` for `aten.conv2d.default`; the in-place mark is dropped."""
    parts = op_name(node).split(".")
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("_")


def bind(node: fx.Node) -> dict[str, Any]:
    """The arguments of an aten call by name, defaults filled in."""
    if not isinstance(node.target, OpOverload):
        return {f"arg{i}": value for i, value in enumerate(node.args)}
    bound: dict[str, Any] = {}
    for i, argument in enumerate(schema_of(node.target).arguments):
        if i < len(node.args):
            bound[argument.name] = node.args[i]
        else:
            default = argument.default_value if argument.has_default_value() else None
            bound[argument.name] = node.kwargs.get(argument.name, default)
    return bound


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's tensor, a symbolic size written as `SYMBOL`."""
    return tuple(_plain(size) for size in node.meta["val"].shape)


def _plain(size: Any) -> int:
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, SYMBOL)))


def module_path(node: fx.Node) -> str:
    """The dotted path of the module a node came from, empty where it is not recorded."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] if isinstance(entry, tuple) else str(entry) for entry in stack.values()]
    path = str(paths[-1]) if paths else ""
    return (
        "" if path.startswith("_empty_") else re.sub(r"^(L\['self'\]|self|L__self__)\.?", "", path)
    )


def tensor_args(node: fx.Node) -> Iterator[fx.Node]:
    """The inputs of a node that are tensors."""
    for source in node.all_input_nodes:
        if isinstance(source.meta.get("val"), torch.Tensor) or source.op == "get_attr":
            yield source


def learned_numbers(module: fx.GraphModule) -> int:
    """Elements of the tensors that a graph computes with, each counted once.

    Parameters, and where a frozen archive keeps its weights as constants those too; not the
    statistics of batch norms, whole numbers such as indices, or single constants.
    """
    found: dict[int, int] = {}
    for node in module.graph.nodes:
        if node.op != "get_attr" or _is_statistic(node):
            continue
        value = operator.attrgetter(str(node.target))(module)
        if isinstance(value, torch.nn.Parameter) or _is_weight(value):
            found[value.data_ptr()] = value.numel()
    called = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    for part in map(module.get_submodule, called):
        found |= {value.data_ptr(): value.numel() for value in part.parameters()}
    return sum(found.values())


def _is_weight(value: object) -> bool:
    """Whether a constant has the look of a weight."""
    if not isinstance(value, torch.Tensor) or value.numel() < 2:
        return False
    return value.is_floating_point() or value.dtype in (torch.int8, torch.uint8)


def _is_statistic(node: fx.Node) -> bool:
    """Whether only batch norms read it, as mean or variance."""
    uses = [(user, bind(user)) for user in node.users]
    return bool(uses) and all(
        short_name(user) == "batch_norm" and node in (given["running_mean"], given["running_var"])
        for user, given in uses
    )
