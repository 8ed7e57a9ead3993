"""From an ONNX graph to an `fx.Graph` of aten operators, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from torch import fx

from equiaudit.errors import EquiauditError, NothingToDo, first_line
from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.graph import GraphBuilder
from equiaudit.repair.onnx.ops import CONTRIB, OPS
from equiaudit.repair.onnx.reader import CANONICAL_TIP, tensor
from equiaudit.repair.onnx.values import Untranslated, Value

_SUBGRAPHS = ("If", "Loop", "Scan", "SequenceMap")


def trace(
    graph: onnx.GraphProto, *, opset: int, image: str, shape: Sequence[int],
    nhwc: bool, fixed_batch: int | None, outputs: Sequence[str],
) -> fx.GraphModule:  # fmt: skip
    """A module that maps a float32 batch (N, C, H, W) to the output named, or a tuple of them.

    `shape` is (C, H, W). Nodes carry `meta["val"]`, on the meta device with N = `BATCH`, and
    the name of the file's node as the place they came from.
    Raises NothingToDo naming the node that has no equivalent.
    """
    nodes = needed(graph)
    made = _begun(graph, nodes, image, shape, nhwc=nhwc, fixed_batch=fixed_batch)
    for node in nodes:
        _run(made, node, opset)
    return made.module(outputs)


def translatable(
    graph: onnx.GraphProto, *, opset: int, image: str, shape: Sequence[int],
    nhwc: bool, fixed_batch: int | None,
) -> tuple[Mapping[str, Value], Mapping[str, NothingToDo]]:  # fmt: skip
    """What is known of each tensor that has an equivalent, and the refusal of those without.

    What reads a tensor without has none either; arguments as for `trace`.
    """
    nodes = needed(graph)
    made = _begun(graph, nodes, image, shape, nhwc=nhwc, fixed_batch=fixed_batch)
    refused: dict[str, NothingToDo] = {}
    for node in nodes:
        behind = next((refused[name] for name in node.input if name in refused), None)
        if behind is None:
            try:
                _run(made, node, opset)
                continue
            except NothingToDo as refusal:
                behind = refusal
        refused |= dict.fromkeys(node.output, behind)
    return made.values, refused


def _begun(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], image: str, shape: Sequence[int],
    *, nhwc: bool, fixed_batch: int | None,
) -> GraphBuilder:  # fmt: skip
    made = GraphBuilder(fixed_batch)
    made.add_image(image, shape, nhwc=nhwc)
    for item in graph.initializer:
        made.values[item.name] = Value(tensor(item), name=item.name)
    made.wanted = {output.name for output in graph.output}
    made.wanted |= {name for node in nodes for name in node.input}
    return made


def needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in order."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _run(made: GraphBuilder, node: onnx.NodeProto, opset: int) -> None:
    """Translate one node; NothingToDo where it has no equivalent."""
    label = f"{node.op_type} (node {node.name or node.output[0]!s}, opset {opset})"
    made.place = node.name or node.output[0]
    try:
        outputs = _translate(made, node, opset)
    except Untranslated as reason:
        raise _refusal(label, str(reason)) from reason
    except EquiauditError:
        raise
    except Exception as error:  # torch raises nearly anything for arguments that do not fit
        raise _refusal(label, first_line(error)) from error
    for name, value in zip(node.output, outputs, strict=False):
        made.values[name] = value


def _translate(made: GraphBuilder, node: onnx.NodeProto, opset: int) -> Sequence[Value]:
    known = CONTRIB if node.domain == "com.microsoft" else OPS
    if node.domain not in ("", "ai.onnx", "com.microsoft"):
        raise Untranslated(f"the operators of {node.domain} are not known")
    if node.op_type in _SUBGRAPHS:
        raise Untranslated("it runs sub-graphs that depend on the data")
    if node.op_type not in known:
        raise Untranslated("there is no translation for this operator")
    call = Call(made, node, [made.values.get(name) for name in node.input], opset)
    result = known[node.op_type](call)
    call.check_attributes()
    outputs = [result] if isinstance(result, Value) else list(result)
    unknown = [name for name in node.output[len(outputs) :] if name in made.wanted]
    if unknown:
        raise Untranslated(f"its output {unknown[0]!r} has no equivalent")
    return outputs


def _refusal(label: str, reason: str) -> NothingToDo:
    return NothingToDo(f"{label} cannot be imported: {reason}.", tip=CANONICAL_TIP)
