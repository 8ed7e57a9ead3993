"""One normal form for captured graphs, so that later passes meet one spelling of each op.

1. Guards and assertions on sizes are gone.
2. One placeholder, one output tensor (or a tuple of them, on request), plain calling.
3. No operator writes into its input.
4. Convolutions are `conv2d` or `conv_transpose2d`, batch norm in eval mode is `batch_norm`,
   dropout in eval mode is gone.
5. Tensors are reached under the names they have in the model's state dict.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from equiaudit.graphs.outputs import main_output
from equiaudit.graphs.regions import without_regions
from equiaudit.torch_private import (
    OpOverload,
    TreeSpec,
    operator_name,
    overload_name,
    schema_of,
    tree_leaves,
    tree_unflatten,
)

aten = torch.ops.aten

_ERASED = ("_assert", "sym_constrain", "_functional_assert")
_DROPOUT = ("dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout")
_IDENTITY = ("detach", "detach_", "alias", "lift_fresh_copy", "lift_fresh")


class Unsupported(Exception):
    """A sentence that says what in the graph cannot be put in normal form."""


class _WritesThroughView(Exception):
    """An operator writes into a tensor that another name may share."""


def single_output_program(
    program: ExportedProgram, *, every_output: bool = False
) -> fx.GraphModule:
    """The exported program in normal form, with `meta["val"]` on every node.

    With `every_output` it returns all outputs, as a tuple where they are several. Raises
    Unsupported where the graph holds control flow, or a mutation of its input.
    """
    try:
        return normal_form(
            module_of(program), program.call_spec.out_spec, every_output=every_output
        )
    except _WritesThroughView:
        functional = program.run_decompositions({})
        try:
            return normal_form(
                module_of(functional), functional.call_spec.out_spec, every_output=every_output
            )
        except _WritesThroughView as error:
            raise Unsupported(f"{error} writes into a tensor that is read under other names") from (
                error
            )


def module_of(program: ExportedProgram) -> fx.GraphModule:
    """The program as a callable module without its input guards."""
    try:
        module = program.module(check_guards=False)
    except TypeError:  # before torch 2.10 there were no guards to leave out
        module = program.module()
    if not isinstance(module, fx.GraphModule):
        raise Unsupported("the program has no single graph")
    return without_regions(module)


def normal_form(
    module: fx.GraphModule,
    out_spec: TreeSpec | None = None,
    names: Mapping[int, str] | None = None,
    *,
    every_output: bool = False,
) -> fx.GraphModule:
    """A fresh module of `module`'s graph, in the normal form above.

    `out_spec` is the structure of its output, where that is not one tensor; `names` gives
    the state-dict name of a tensor by its storage address. With `every_output` the module
    returns all outputs, as a tuple where they are several.
    """
    graph, tensors = _copied(module, out_spec, names or {}, every_output)
    canonical_operators(graph)
    _without_writes(graph)
    graph.eliminate_dead_code()
    graph.lint()
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return fx.GraphModule({name: tensors[name] for name in tensors if name in used}, graph)


def _copied(
    module: fx.GraphModule,
    out_spec: TreeSpec | None,
    names: Mapping[int, str],
    every_output: bool,
) -> tuple[fx.Graph, dict[str, torch.Tensor]]:
    graph = fx.Graph()
    tensors: dict[str, torch.Tensor] = {}
    twins: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if _is_erased(node):
            continue
        if node.op == "output":
            leaves = tree_leaves(node.args[0])
            main = _main_leaf(leaves, out_spec)
            several = every_output and len(leaves) > 1
            graph.output(tuple(twins[leaf] for leaf in leaves) if several else twins[main])
            continue
        twin = twins[node] = graph.node_copy(node, lambda source: twins[source])
        if node.op == "get_attr":
            twin.target = _adopt(module, node, names, tensors)
        elif node.op == "call_module":
            raise Unsupported(f"it calls the sub-graph {node.target}")
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise Unsupported("it does not take one batch of images as its only input")
    return graph, tensors


def _is_erased(node: fx.Node) -> bool:
    if node.op == "call_module":
        return node.target == "_guards_fn"
    name = operator_name(node.target) or getattr(node.target, "__name__", "")
    return node.op == "call_function" and name.startswith(_ERASED)


def _main_leaf(leaves: list[fx.Node], spec: TreeSpec | None) -> fx.Node:
    if spec is None:
        return leaves[0]
    leaf: fx.Node = leaves[main_output(tree_unflatten(range(len(leaves)), spec))]
    return leaf


def _adopt(
    module: fx.GraphModule,
    node: fx.Node,
    names: Mapping[int, str],
    tensors: dict[str, torch.Tensor],
) -> str:
    value: Any = operator.attrgetter(str(node.target))(module)
    if not isinstance(value, torch.Tensor):
        raise Unsupported(f"its control flow depends on the data ({node.target})")
    name = names.get(value.data_ptr(), str(node.target)) if value.numel() else str(node.target)
    if name in tensors and tensors[name].shape != value.shape:
        name = str(node.target)
    tensors[name] = value
    return name


def canonical_operators(graph: fx.Graph) -> None:
    """Rules 4: one spelling of convolution, batch norm and dropout."""
    for node in list(graph.nodes):
        rule = _CANONICAL.get(operator_name(node.target))
        if rule is not None:
            rule(node)


def _convolution(node: fx.Node) -> None:
    x, weight, bias, stride, padding, dilation, transposed, extra, groups = node.args[:9]
    if transposed:
        node.target = aten.conv_transpose2d.input
        node.args = (x, weight, bias, stride, padding, extra, groups, dilation)
    else:
        node.target = aten.conv2d.default
        node.args = (x, weight, bias, stride, padding, dilation, groups)
    if isinstance(stride, list | tuple) and len(stride) != 2:
        raise Unsupported(f"{node.name} is a convolution over {len(stride)} axes")


def _inference_batch_norm(node: fx.Node) -> None:
    """`_native_batch_norm_legit_no_training` returns a tuple; take its first entry."""
    x, weight, bias, mean, var, momentum, eps = node.args
    node.target = aten.batch_norm.default
    node.args = (x, weight, bias, mean, var, False, momentum, eps, True)
    for user in list(node.users):
        if user.target is operator.getitem and user.args[1] == 0:
            node.meta["val"] = user.meta.get("val")
            user.replace_all_uses_with(node)
            user.graph.erase_node(user)


def _dropout(node: fx.Node) -> None:
    training = node.kwargs.get("train", node.args[2] if len(node.args) > 2 else True)
    if not training:
        _bypass(node)


def _bypass(node: fx.Node) -> None:
    source = node.args[0]
    if isinstance(source, fx.Node):
        node.replace_all_uses_with(source)
        node.graph.erase_node(node)


_CANONICAL: dict[str, Callable[[fx.Node], None]] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "_native_batch_norm_legit_no_training": _inference_batch_norm,
    **dict.fromkeys(_DROPOUT, _dropout),
    **dict.fromkeys(_IDENTITY, _bypass),
}


def _without_writes(graph: fx.Graph) -> None:
    """Rule 3: `relu_(x)` becomes `relu(x)`, and what reads x later reads the result."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op != "call_function" or not _writes(node.target):
            continue
        written = node.args[0]
        if not isinstance(written, fx.Node) or _is_shared(written, node, order):
            raise _WritesThroughView(node.name)
        node.target = _functional(node)
        for user in [user for user in written.users if order[user] > order[node]]:
            user.replace_input_with(written, node)


def _writes(target: Any) -> bool:
    return isinstance(target, OpOverload) and schema_of(target).is_mutable


def _is_shared(written: fx.Node, writer: fx.Node, order: Mapping[fx.Node, int]) -> bool:
    """Whether `written` may be a view, or a view of it was taken before the write."""
    earlier = (user for user in written.users if order[user] < order[writer])
    return written.op != "call_function" or any(map(_may_alias, (written, *earlier)))


def _may_alias(node: fx.Node) -> bool:
    if not isinstance(node.target, OpOverload):
        return node.op == "call_function"  # getitem of a split, or an operator we do not know
    returns = schema_of(node.target).returns
    return any(ret.alias_info is not None for ret in returns) and not _writes(node.target)


def _functional(node: fx.Node) -> OpOverload:
    target = node.target
    name, overload = operator_name(target), overload_name(target)
    packet = getattr(aten, name.removesuffix("_"), None)
    twin = getattr(packet, overload, None)
    if not name.endswith("_") or twin is None or _writes(twin):
        raise _WritesThroughView(node.name)
    functional: OpOverload = twin
    return functional
