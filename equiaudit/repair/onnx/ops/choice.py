"""The largest of an axis, and where they are."""

from __future__ import annotations

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import Untranslated, Value, is_batch

aten = torch.ops.aten


@op("TopK")
def top_k(call: Call) -> list[Value]:
    """The count is an attribute before opset 10, an input since; always sorted."""
    x = call.input(0)
    counts = [call.attr("k")] if call.opset < 10 else call.ints(call.input(1), "k")
    axis = call.attr("axis", -1) % x.ndim
    largest = bool(call.attr("largest", 1))
    call.ignore("sorted")
    if not counts or counts[0] is None or is_batch(x.shape[axis]):
        raise Untranslated("it chooses among the images of the batch, or how many is not said")
    # Of equal elements the first counts, which torch.topk does not promise.
    order = {"stable": True, "dim": axis, "descending": largest}
    parts = call.emit_parts(aten.sort.stable, x, **order)
    return [call.emit(aten.slice.Tensor, part, axis, 0, counts[0]) for part in parts]
