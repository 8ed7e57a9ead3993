"""Nets that scale their integers by the largest value in a whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import fx, nn

from equiaudit.models.artefact import ALONE, Artefact
from equiaudit.torch_private import operator_name, script_graphs

_MODULES = (".quantized.dynamic.",)
_SCALES = ("choose_qparams", "_choose_qparams_per_tensor")
_SCRIPTED = (
    "aten::_choose_qparams_per_tensor", "aten::choose_qparams_optimized",
    *(f"quantized::{kind}_dynamic" for kind in (
        "linear", "linear_relu", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")),
)  # fmt: skip


def run_alone(artefact: Artefact) -> Artefact:
    """The artefact, in batches of one where an image's answer depends on those beside it."""
    module = artefact.module
    if module is None or artefact.fixed_batch is not None or not any(_scales_by_batch(module)):
        return artefact
    return replace(artefact, fixed_batch=1, notes=(*artefact.notes, ALONE))


def _scales_by_batch(module: nn.Module) -> Iterator[bool]:
    for each in module.modules():
        if isinstance(each, torch.jit.ScriptModule):
            graphs = list(script_graphs(each))
            yield any(g.findAllNodes(kind, recurse=True) for g in graphs for kind in _SCRIPTED)
        elif isinstance(each, fx.GraphModule):
            names = [operator_name(node.target) for node in each.graph.nodes]
            yield any(name.startswith(_SCALES) and "per_token" not in name for name in names)
        else:
            yield any(part in f"{type(each).__module__}." for part in _MODULES)
