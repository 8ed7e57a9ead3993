"""Parts of an exported graph that stand in graphs of their own, put back in their place."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

_AUTOCAST = "wrap_with_autocast"
_GRADIENT = "wrap_with_set_grad_enabled"


def without_regions(module: fx.GraphModule) -> fx.GraphModule:
    """`module`, changed in place: what runs with autocast off, or with gradients on or off.

    Such a part computes what its operators compute anywhere else. One that turns autocast on
    stays, since its precision is that of the region.
    """
    for node in list(module.graph.nodes):
        inner = _region(module, node)
        if inner is not None:
            _inline(module, node, inner)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _region(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, tuple[Any, ...]] | None:
    """The graph that a node runs, and what it is given."""
    name = getattr(node.target, "__name__", str(node.target))
    first = {_AUTOCAST: 4, _GRADIENT: 1}.get(name)
    if node.op != "call_function" or first is None:
        return None
    if name == _AUTOCAST and node.args[2]:
        return None
    graph, *given = node.args[first:]
    return (graph, tuple(given)) if isinstance(graph, fx.Node) else None


def _inline(module: fx.GraphModule, node: fx.Node, region: tuple[fx.Node, tuple[Any, ...]]) -> None:
    holder, given = region
    inner = without_regions(operator.attrgetter(str(holder.target))(module))
    twins: dict[fx.Node, Any] = dict(
        zip((n for n in inner.graph.nodes if n.op == "placeholder"), given, strict=True)
    )
    with module.graph.inserting_before(node):
        returned: Any = module.graph.graph_copy(inner.graph, twins)
    for user in list(node.users):
        if user.target is operator.getitem and isinstance(returned, tuple | list):
            place: Any = user.args[1]
            user.replace_all_uses_with(returned[place])
            module.graph.erase_node(user)
    if node.users:
        node.replace_all_uses_with(returned)
    module.graph.erase_node(node)
