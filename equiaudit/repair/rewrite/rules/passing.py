"""Operations that treat every position alike and stay as they are."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import op_name, shape_of, tensor_args
from equiaudit.repair.rewrite.builder import Builder
from equiaudit.repair.rewrite.grid import FLAT, Axis, Grid
from equiaudit.repair.rewrite.plan import Refuse, State, Step
from equiaudit.repair.rewrite.rules.registry import Call, rule
from equiaudit.repair.rewrite.rules.spread import laid_over
from equiaudit.torch_private import overload_name

# Elements that a vector loop takes at a time; what is left over goes through scalar code.
_VECTOR = 64

EXACT = frozenset(
    """
    relu hardtanh hardswish hardsigmoid leaky_relu prelu clamp clamp_min clamp_max relu6 neg abs
    sign sqrt rsqrt reciprocal square floor ceil round dropout feature_dropout alpha_dropout
    contiguous clone detach alias to _to_copy type_as lift_fresh_copy positive threshold
    add sub mul div rsub maximum minimum where eq ne lt le gt ge logical_and logical_or
    logical_not addcmul masked_fill zeros_like ones_like full_like bitwise_and bitwise_or
    """.split()  # noqa: SIM905
)
TRANSCENDENTAL = frozenset(
    """
    sigmoid silu gelu tanh softplus elu celu selu mish exp expm1 log log1p log2 pow erf sin cos
    logsigmoid log_sigmoid
    """.split()  # noqa: SIM905
)


def verbatim(call: Call, out: State = FLAT) -> Step:
    """The node as it is."""
    return Step(out, copy_node)


def copy_node(b: Builder, node: fx.Node) -> Any:
    """Copy a node."""
    return b.copy(node)


@rule(EXACT)
def elementwise(call: Call) -> Step:
    """Position by position; operands on one grid stay on it."""
    if call.args.get("train") is True:
        raise Refuse("dropout in training mode is random", "call model.eval() before saving it")
    return join(call)


@rule(TRANSCENDENTAL)
def transcendental(call: Call) -> Step:
    """Position by position, but vector and scalar code may differ in the last bit.

    The elements left over at the end of a vector loop go through scalar code, so which pixels
    get those last bits depends on where they lie. Where the map is not a whole number of
    vectors, compute in float64 and round once: both codes then give the same float32.
    """
    step = join(call)
    grid = step.out
    if not isinstance(grid, Grid) or not grid.present or _whole_vectors(call.node, grid):
        return step
    return Step(grid, in_double)


def _whole_vectors(node: fx.Node, grid: Grid) -> bool:
    if grid.shared:
        return False
    return math.prod(grid.circled(shape_of(node))[1:]) % _VECTOR == 0


def in_double(b: Builder, node: fx.Node) -> fx.Node:
    """f(x) computed in float64; an in-place f also replaces what its input stands for."""
    first: Any = node.args[0]
    x = b.value(first)
    packet = getattr(torch.ops.aten, op_name(node).split(".")[1].rstrip("_"))
    target = getattr(packet, overload_name(node.target))
    wide = b.call(to_double, x)
    with_args = (wide, *b.mapped(node.args[1:]))
    y = b.graph.call_function(target, with_args, dict(b.mapped(node.kwargs)))
    result: fx.Node = b.call(back_to, y, x)
    if op_name(node).split(".")[1].endswith("_"):
        b.env[first] = result
    return result


def to_double(x: Any) -> Any:
    """x in float64."""
    return x.double()


def back_to(y: Any, x: Any) -> Any:
    """y in the dtype of x."""
    return y.type_as(x)


def join(call: Call) -> Step:
    """Operands that meet must lie on one grid; what is flat there must not vary over it."""
    inputs = list(tensor_args(call.node))
    ndim = len(shape_of(call.node))
    h, w = (_common(call, inputs, axis) for axis in (0, 1))
    grid = Grid(h, w)
    for node in inputs:
        _check_flat(call, node, grid)
    if len({call.grid(n).leads for n in inputs if call.grid(n).present}) <= 1:
        return Step(grid if ndim else FLAT, copy_node)
    return Step(grid.settled(), settled_copy({n: call.grid(n) for n in inputs}))


def _common(call: Call, inputs: list[fx.Node], which: int) -> Axis | None:
    axes = [a for a in (call.grid(n).axes[which] for n in inputs) if a is not None]
    if len({(a.dim, a.stride, a.shared, a.inner) for a in axes}) > 1:
        places = sorted({f"stride {a.stride}" for a in axes})
        raise Refuse(f"its inputs lie on different grids ({', '.join(places)})")
    return axes[0] if axes else None


def _check_flat(call: Call, node: fx.Node, grid: Grid) -> None:
    own = call.grid(node).dims
    rest = Grid(*(axis if axis and axis.dim not in own else None for axis in grid.axes))
    if not laid_over(node, rest):
        raise Refuse("it adds or multiplies values that belong to absolute positions")


def settled_copy(grids: dict[fx.Node, Grid]) -> Any:
    """Emit a node on inputs whose leads are rolled away."""

    def emit(b: Builder, node: fx.Node) -> fx.Node:
        settled = {n: b.settle(n, grid) for n, grid in grids.items()}
        return b.graph.node_copy(node, lambda old: settled.get(old, b.env[old]))

    return emit
