"""Raising the operator set of an old file without changing what its nodes do."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from equiaudit.errors import InputError

OLDEST = 7
WRITTEN_FROM = 10
"""The first operator set whose Slice reads its bounds from tensors."""

# What else operator sets 8, 9 and 10 redefined they only widened: more types, more attributes.
_REDEFINED = ("Scan", "Slice", "TopK", "Upsample")
_TIP = "Convert it with onnx.version_converter.convert_version(model, 13) first."


def raise_opset(model: onnx.ModelProto, what: str) -> int:
    """Declare operator set 10 where `model` declares 7, 8 or 9; returns the one it then has.

    No node changes, but that BatchNormalization loses `spatial = 1`, the default that 9 took
    away. Raises InputError where an operator in the file means something else in set 10, and
    where the set is older than 7.
    """
    stated = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not stated:
        model.opset_import.add(domain="", version=WRITTEN_FROM)
        return WRITTEN_FROM
    entry = stated[0]
    if entry.version < OLDEST:
        raise InputError(
            f"{what} is of operator set {entry.version}; {OLDEST} and later are read.", tip=_TIP
        )
    if entry.version < WRITTEN_FROM:
        for node in _all_nodes(model.graph):
            _check(node, entry.version, what)
        entry.version = WRITTEN_FROM
    return int(entry.version)


def _check(node: onnx.NodeProto, version: int, what: str) -> None:
    if node.domain not in ("", "ai.onnx"):
        return
    spatial = [a for a in node.attribute if a.name == "spatial"]
    per_pixel = node.op_type == "BatchNormalization" and any(a.i == 0 for a in spatial)
    if node.op_type in _REDEFINED or per_pixel:
        raise InputError(
            f"{what} is of operator set {version}, and its {node.op_type}"
            f" ({node.name or node.output[0]}) means something else in {WRITTEN_FROM},"
            " which rolling the input needs.",
            tip=_TIP,
        )
    if node.op_type == "BatchNormalization" and spatial:
        node.attribute.remove(spatial[0])


def _all_nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _all_nodes(inner)
