"""The graph in training: a copy of the converted one, and where its features are read."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from equiaudit.errors import InputError
from equiaudit.torch_private import operator_name

aten = torch.ops.aten

_LAYERS = ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
_SELECTOR = "select_"
"""How the modules that score candidates are named (`repair.methods.scored`)."""
_VIEWS = ("view", "reshape", "flatten", "_unsafe_view", "squeeze", "unsqueeze", "dropout")


def trainable_copy(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of `graph` with tensors of its own, whose weights want gradients.

    Weights that the graph holds as buffers (as graphs read from files do) become parameters.
    InputError where a weight is not float32.
    """
    student: fx.GraphModule = copy.deepcopy(graph)
    for name in _weight_names(student):
        _as_parameter(student, name)
    for name, parameter in student.named_parameters():
        if parameter.dtype != torch.float32:
            raise InputError(
                f"The weight {name} is {str(parameter.dtype).removeprefix('torch.')}; training"
                " needs float32.",
                tip="Convert the float32 model.",
            )
        parameter.requires_grad_(True)
    return student


def decay_groups(graph: fx.GraphModule, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser: decay for weights, none for the rest.

    The rest are biases, normalisations, and all of the selectors of LPS and CAPS (`select_*`),
    as in their published recipe.
    """
    norms = {name for node in _nodes(graph, _NORMS) for name in _read(node)}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in graph.named_parameters():
        undecayed = parameter.dim() < 2 or name in norms or name.startswith(_SELECTOR)
        (free if undecayed else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def with_features(graph: fx.GraphModule) -> fx.GraphModule:
    """`graph`, sharing its tensors, returning (output, what its last layer reads).

    Of a classifier with a pooled head that is the map before the pooling's flattening,
    (N, C, 1, 1); of a dense net the (padded) map that the last convolution reads. Where no
    layer is found the output itself comes twice.
    """
    twin = copy.deepcopy(graph.graph)
    twin.set_codegen(fx.graph.CodeGen())
    result = next(node for node in twin.nodes if node.op == "output")
    output = result.args[0]
    output = output[0] if isinstance(output, list | tuple) else output
    layers = [node for node in twin.nodes if _name(node) in _LAYERS]
    feature = _before_views(layers[-1].args[0]) if layers else output
    result.args = ((output, feature),)
    twin.lint()
    return fx.GraphModule(graph, twin)


def _before_views(node: Any) -> Any:
    """What a chain of views was taken from: a flattened map moves with the image."""
    while _name(node) in _VIEWS and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _name(node: fx.Node) -> str:
    target = node.target
    return operator_name(target) or str(getattr(target, "__name__", target))


def _nodes(graph: fx.GraphModule, names: tuple[str, ...]) -> Iterator[fx.Node]:
    return (node for node in graph.graph.nodes if _name(node) in names)


def _read(node: fx.Node) -> list[str]:
    """The names of the weight and bias that a layer reads."""
    arguments = (*node.args[1:3], *(node.kwargs.get(key) for key in ("weight", "bias")))
    if _name(node) in ("layer_norm", "group_norm"):
        arguments = (*node.args[2:4], *arguments)
    return [str(a.target) for a in arguments if isinstance(a, fx.Node) and a.op == "get_attr"]


def _weight_names(graph: fx.GraphModule) -> list[str]:
    found = [name for node in _nodes(graph, _LAYERS + _NORMS) for name in _read(node)]
    return list(dict.fromkeys(found))


def _as_parameter(graph: fx.GraphModule, name: str) -> None:
    value: Tensor = operator.attrgetter(name)(graph)
    if isinstance(value, nn.Parameter) or not value.is_floating_point():
        return
    place, _, leaf = name.rpartition(".")
    owner = graph.get_submodule(place)
    delattr(owner, leaf)
    owner.register_parameter(leaf, nn.Parameter(value))
