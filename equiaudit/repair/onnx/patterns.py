"""What exporters spell out in several operators, put back into the one it came from.

1. `x * sigmoid(x)` is `silu(x)`.
2. `0.5 x (1 + erf(x / sqrt 2))`, its factors in any order, is `gelu(x)`.
3. A bias added after a linear layer or a convolution without one is its bias.
4. Instance norm of a map viewed as (N, groups, -1), viewed back, is `group_norm`.
5. A permutation of a permutation is one, or none; so is a view of a view.
6. A gather from a flattened tensor, image by image alike, takes elements of each image.

Each changes a result by rounding at most.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from equiaudit.repair.onnx.values import BATCH

aten = torch.ops.aten


def simplify(module: fx.GraphModule) -> fx.GraphModule:
    """Apply the rules above to a traced module, whose nodes carry `meta["val"]`, in place."""
    for node in list(module.graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        better = rule(node, module) if rule is not None else None
        if better is not None:
            better.meta.setdefault("val", node.meta["val"])
            place = node.meta.get("nn_module_stack")
            if place is not None:
                better.meta.setdefault("nn_module_stack", place)
            node.replace_all_uses_with(better)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return module


def _silu(node: fx.Node, _: fx.GraphModule) -> fx.Node | None:
    for x, gate in (node.args[:2], node.args[1::-1]):
        if _is(gate, aten.sigmoid.default) and gate.args[0] is x:  # type: ignore[union-attr]
            return _before(node, aten.silu.default, x)
    return None


def _mul(node: fx.Node, module: fx.GraphModule) -> fx.Node | None:
    return _silu(node, module) or _gelu(node)


def _gelu(node: fx.Node) -> fx.Node | None:
    factors = _factors(node)
    half = math.prod(f for f in factors if not isinstance(f, fx.Node))
    others = [f for f in factors if isinstance(f, fx.Node)]
    if len(others) != 2 or not math.isclose(half, 0.5):
        return None
    for x, gate in (others, others[::-1]):
        if _is_gate(gate, x):
            return _before(node, aten.gelu.default, x)
    return None


def _factors(node: fx.Node) -> list[fx.Node | float]:
    """What a tree of products multiplies; sub-products with other users count as one."""
    factors: list[fx.Node | float] = []
    for arg in node.args[:2]:
        if _is(arg, aten.mul.Tensor) and len(arg.users) == 1:  # type: ignore[union-attr]
            factors += _factors(arg)  # type: ignore[arg-type]
        elif isinstance(arg, fx.Node | int | float):
            factors.append(arg)
        if len(factors) > 3:
            break
    return factors


def _is_gate(gate: fx.Node, x: fx.Node) -> bool:
    """Whether it is 1 + erf(x / sqrt 2)."""
    if not _is(gate, aten.add.Tensor) or gate.args[1] != 1:
        return False
    erf = gate.args[0]
    if not _is(erf, aten.erf.default):
        return False
    inner = erf.args[0]  # type: ignore[union-attr]
    if not isinstance(inner, fx.Node) or len(inner.args) < 2 or inner.args[0] is not x:
        return False
    scale = inner.args[1]
    wanted = {aten.div.Tensor: math.sqrt(2), aten.mul.Tensor: math.sqrt(0.5)}.get(inner.target)  # type: ignore[call-overload]
    if wanted is None or not isinstance(scale, int | float):
        return False
    return math.isclose(scale, wanted, rel_tol=1e-6)


def _bias(node: fx.Node, module: fx.GraphModule) -> fx.Node | None:
    for y, bias in (node.args[:2], node.args[1::-1]):
        if not (isinstance(y, fx.Node) and isinstance(bias, fx.Node) and bias.op == "get_attr"):
            continue
        if y.target not in _BIASED or len(y.users) > 1 or any(a is not None for a in y.args[2:3]):
            continue
        channels = y.meta["val"].shape[_BIASED[y.target]]  # type: ignore[index]
        shape = tuple(bias.meta["val"].shape)
        if (
            shape[_BIASED[y.target] :]
            == ((channels,) if y.target is aten.linear.default else (channels, 1, 1))
            and bias.meta[  # type: ignore[index]
                "val"
            ].numel()
            == channels
        ):
            return _with_bias(node, y, bias, module)
    return None


_BIASED = {aten.linear.default: -1, aten.conv2d.default: -3}
"""The axis of the outputs, which their bias has as its only long one."""


def _with_bias(node: fx.Node, y: fx.Node, bias: fx.Node, module: fx.GraphModule) -> fx.Node:
    flat = operator.attrgetter(str(bias.target))(module).reshape(-1)
    name = f"{str(bias.target).replace('.', '_')}_flat"
    source = bias
    if bias.meta["val"].dim() > 1:
        if not hasattr(module, name):
            module.register_parameter(name, torch.nn.Parameter(flat, requires_grad=False))
        with node.graph.inserting_before(node):
            source = node.graph.get_attr(name)
        source.meta["val"] = bias.meta["val"].reshape(-1)
    return _before(node, y.target, *y.args[:2], source, *y.args[3:])


def _group_norm(node: fx.Node, module: fx.GraphModule) -> fx.Node | None:
    inner = node.args[0]
    if not _is(inner, aten.instance_norm.default) or len(inner.users) > 1:  # type: ignore[union-attr]
        return None
    view, weight, bias, *_, eps, _ = inner.args  # type: ignore[union-attr]
    if not _is(view, aten.reshape.default):
        return None
    x = view.args[0]  # type: ignore[union-attr]
    shape, groups = x.meta["val"].shape, view.meta["val"].shape  # type: ignore[union-attr]
    same = node.meta["val"].shape == shape and len(groups) == 3 and groups[0] == shape[0]
    plain = _is_filled(weight, 1.0, module) and _is_filled(bias, 0.0, module)
    if not (same and plain and len(shape) == 4):
        return None
    return _before(node, aten.group_norm.default, x, groups[1], None, None, eps, False)


def _is_filled(node: object, value: float, module: fx.GraphModule) -> bool:
    if node is None:
        return True
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return False
    return bool((operator.attrgetter(str(node.target))(module) == value).all())


def _reshape(node: fx.Node, module: fx.GraphModule) -> fx.Node | None:
    inner, sizes = node.args
    if not _is(inner, aten.reshape.default):
        return _group_norm(node, module)
    source: Any = inner.args[0]  # type: ignore[union-attr]
    if source.meta["val"].shape == node.meta["val"].shape:
        return source  # type: ignore[no-any-return]
    return _before(node, aten.reshape.default, source, sizes)


def _permute(node: fx.Node, _: fx.GraphModule) -> fx.Node | None:
    inner = node.args[0]
    if not _is(inner, aten.permute.default):
        return None
    first: Any = inner.args[1]  # type: ignore[union-attr]
    second: Any = node.args[1]
    order: list[int] = [first[i] for i in second]
    source = inner.args[0]  # type: ignore[union-attr]
    if order == sorted(order):
        return source  # type: ignore[return-value]
    return _before(node, aten.permute.default, source, order)


def _gather(node: fx.Node, module: fx.GraphModule) -> fx.Node | None:
    """What exporters make of `as_strided`; the indices depend on nothing but the batch size."""
    flat, axis, index = node.args
    if not isinstance(flat, fx.Node) or not isinstance(index, fx.Node) or axis != 0:
        return None
    if flat.meta["val"].dim() != 1 or flat.meta["val"].numel() % BATCH:
        return None
    each = flat.meta["val"].numel() // BATCH
    tables = [_evaluated(index, batch, module) for batch in (2, 3)]
    if any(table is None or table.numel() % n for table, n in zip(tables, (2, 3), strict=True)):
        return None
    places = tables[0].reshape(2, -1)[0]  # type: ignore[union-attr]
    for table, batch in zip(tables, (2, 3), strict=True):
        wanted = places + each * torch.arange(batch)[:, None]
        if not torch.equal(table.reshape(batch, -1), wanted):  # type: ignore[union-attr]
            return None
    if not torch.equal(places, torch.arange(each)):
        return None
    return flat


def _evaluated(node: fx.Node, batch: int, module: fx.GraphModule) -> torch.Tensor | None:
    """The value of a node at a batch size; None where it depends on the image itself."""
    known: dict[fx.Node, object] = {}

    def value(item: fx.Node) -> object:
        if item not in known:
            known[item] = compute(item)
        return known[item]

    def compute(item: fx.Node) -> object:
        if item.op == "get_attr":
            return operator.attrgetter(str(item.target))(module)
        if item.target is aten.sym_size.int:
            return batch
        if item.op != "call_function":
            raise LookupError
        args, kwargs = fx.map_arg((item.args, item.kwargs), value)  # type: ignore[arg-type]
        return item.target(*args, **kwargs)  # type: ignore[operator]

    try:
        result = value(node)
    except LookupError:
        return None
    return result if isinstance(result, torch.Tensor) else None


def _is(item: object, target: object) -> bool:
    return isinstance(item, fx.Node) and item.target is target


def _before(node: fx.Node, target: object, *args: object) -> fx.Node:
    with node.graph.inserting_before(node):
        return node.graph.call_function(target, args)  # type: ignore[arg-type]


_RULES: dict[object, Callable[[fx.Node, fx.GraphModule], fx.Node | None]] = {
    aten.mul.Tensor: _mul,
    aten.add.Tensor: _bias,
    aten.reshape.default: _reshape,
    aten.permute.default: _permute,
    aten.index_select.default: _gather,
}
