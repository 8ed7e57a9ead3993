"""An ONNX file in two runtimes: how far its outputs are apart, and which operation drifts first.

The graph is cut behind every node: each result becomes an output, and the first in the order of the
graph that differs by more than rounding is named. Such cuts keep a runtime from fusing operations,
so a difference that only fusing makes is seen in the outputs and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from equiaudit.models.onnx import read_onnx
from equiaudit.models.runtimes.base import Forward
from equiaudit.models.runtimes.registry import installed
from equiaudit.results.elsewhere import Drift

ROUNDING = 1e-5
"""Of the range of a result: convolutions that sum in another order stay far below it."""
_CUT = "equiaudit_cut_"
_CPU = torch.device("cpu")
_REFERENCE = "onnxruntime"


def first_drift(
    path: Path,
    engine: str,
    batch: Tensor,
    *,
    image: str = "",
    inputs: Mapping[str, str] | None = None,
    tolerance: float = ROUNDING,
) -> Drift | None:
    """The first node of the file whose result differs between onnxruntime and `engine`.

    `batch` is as the file takes it. Results that are no tensors, or that only one runtime
    returns, are passed over. None where all agree to `tolerance`; RunError where a runtime
    does not run the cut graph.
    """
    cut, places = _cut_everywhere(path)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    results = [_forward(name, cut, image, inputs or {})(batch) for name in (_REFERENCE, engine)]
    for tensor, name in places.items():
        ours, theirs = (each.get(name) for each in results)
        if isinstance(ours, Tensor) and isinstance(theirs, Tensor) and ours.shape == theirs.shape:
            found[tensor] = (ours, theirs)
    nodes = onnx.load_from_string(cut).graph.node
    makers = {name: node for node in nodes for name in node.output}
    errors = {
        tensor: _apart(*pair, at_least=_scale(makers[tensor], found))
        for tensor, pair in found.items()
    }
    for node in nodes:
        apart = max((errors.get(name, 0.0) for name in node.output), default=0.0)
        if apart > tolerance:
            before = max((errors.get(name, 0.0) for name in node.input), default=0.0)
            where = node.name or node.output[0]
            return Drift(node=where, op=node.op_type, error=apart, inputs=before)
    return None


def _forward(name: str, cut: bytes, image: str, inputs: Mapping[str, str]) -> Forward:
    runtime = installed(name)
    return runtime.forward(cut, _CPU, what=f"the cut graph ({runtime.label})", image=image,
                           inputs=inputs)  # fmt: skip


def _cut_everywhere(path: Path) -> tuple[bytes, dict[str, str]]:
    """The file with every result of its main graph as an output, and their names there."""
    model = read_onnx(path)
    model = onnx.load(path) if _apart_from_weights(model) else model
    made = [name for node in model.graph.node for name in node.output if name]
    places = {name: f"{_CUT}{k}" for k, name in enumerate(made)}
    for name, cut in places.items():
        model.graph.node.append(helper.make_node("Identity", [name], [cut]))
        model.graph.output.append(onnx.ValueInfoProto(name=cut))
    return model.SerializeToString(), places


def _apart_from_weights(model: onnx.ModelProto) -> bool:
    return any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer)


def _scale(node: onnx.NodeProto, found: Mapping[str, tuple[Tensor, Tensor]]) -> float:
    """What a difference of two numbers is to be measured by: their own size, which may cancel."""
    if node.op_type not in ("Add", "Sub"):
        return 0.0
    terms = [found[name][0] for name in node.input if name in found]
    return max(
        (float(t.abs().max()) for t in terms if t.is_floating_point() and t.numel()), default=0
    )


def _apart(ours: Tensor, theirs: Tensor, *, at_least: float) -> float:
    """Largest difference over the range, or `at_least`; of whole numbers the share that differs."""
    if not ours.is_floating_point():
        return float((ours.long() != theirs.long()).double().mean()) if ours.numel() else 0.0
    a, b = ours.double(), theirs.double()
    both = torch.isfinite(a) & torch.isfinite(b)
    if not bool(both.any()):
        return 0.0
    spread = float(a[both].max() - a[both].min()) or float(a[both].abs().max()) or 1.0
    return float((a - b)[both].abs().max()) / max(spread, at_least)
