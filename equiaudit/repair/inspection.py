"""inspect: one graph, analysed, as a table of operations; `fix` starts from the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from equiaudit._version import __version__
from equiaudit.errors import NothingToDo
from equiaudit.graphs.capture import Captured, capture
from equiaudit.models.types import Model
from equiaudit.repair.locate import locate
from equiaudit.repair.rewrite.analyse import Analysis, OpPlan, analyse
from equiaudit.results.repair import Inspection, OpRow
from equiaudit.results.types import Skipped


def inspect(model: Model, images: Mapping[str, Tensor] | None = None) -> Inspection:
    """Every operation of `model` that matters to shift equivariance, and what can be done.

    With `images`, (C, H, W) each as the model takes them, also how much each is to blame for.
    Raises NothingToDo where the model cannot be captured as one graph.
    """
    try:
        captured = captured_graph(model)
    except NothingToDo:
        from equiaudit.repair.onnx.head import head_of

        head = head_of(model)
        if head is None:
            raise
        captured = head.captured
    analysis = analysed(model, captured)
    found = inspection_of(model, captured, analysis)
    if images is None or not analysis.ops:
        return found
    located = locate(captured.graph_module, analysis, images)
    return found.model_copy(update={"located": located})


def analysed(model: Model, captured: Captured) -> Analysis:
    """The plan for `mass` and all that rewrite as it does; a detector's rows are a tail."""
    graph = captured.graph_module
    return analyse(graph, one_size=model.one_size, framed=bool(model.detector))


def captured_graph(model: Model) -> Captured:
    """The model's torch graph; NothingToDo where it has none that can be converted."""
    how = model.preprocess
    if model.kind == "onnx" and model.path is not None:
        return _imported(model, model.path)
    if model.detector.get("format") == "dicts":
        raise NothingToDo(
            f"{model.name} returns a dict per image, so it cannot be recorded as one graph.",
            tip="--method canonical needs no graph.",
        )
    if model.module is None:
        raise NothingToDo(
            f"{model.name} runs outside torch, so there is no torch graph to convert.",
            tip="Convert the torch model it was exported from.",
        )
    if how.layout != "NCHW":
        raise NothingToDo(
            f"{model.name} takes {how.layout} batches, and only NCHW graphs are converted.",
            tip="Convert the model without the permutation in front.",
        )
    return capture(
        model.module,
        size=how.size,
        channels=how.planes,
        dtype=how.tensor_dtype,
        output=model.output,
        every_output=bool(model.detector),
    )


def _imported(model: Model, path: Path) -> Captured:
    """The graph of an ONNX file, translated and checked against onnxruntime."""
    from equiaudit.repair.onnx import capture_onnx, import_onnx

    how = model.preprocess
    channels = how.planes
    return capture_onnx(
        import_onnx(
            path, size=how.size, channels=channels, layout=how.layout, main=model.output or None
        )
    )


def inspection_of(model: Model, captured: Captured, analysis: Analysis) -> Inspection:
    """What the analysis found, as a result."""
    rule = analysis.sizes_that_fit
    fits = rule.fits(*captured.size)
    remedies = {refusal.node: refusal.remedy for refusal in analysis.refusals}
    return Inspection(
        tool_version=__version__,
        model=model.name,
        model_sha256=model.sha256,
        route=captured.route,
        input_size=captured.size,
        total_stride=analysis.total_stride,
        size_multiple=rule.multiple,
        sizes_near=() if fits else tuple(dict.fromkeys(rule.near(*captured.size))),
        dense=analysis.dense,
        ops=tuple(_row(op, remedies) for op in analysis.ops),
        refusals=tuple(
            Skipped(
                name=f"{r.module} ({r.node})" if r.module else r.node,
                reason=f"{r.reason}; {r.remedy}",
            )
            for r in analysis.refusals
        ),
        notes=captured.notes + ((model.doubt,) if model.doubt else ()),
    )


def _row(op: OpPlan, remedies: Mapping[str, str]) -> OpRow:
    return OpRow(
        node=op.node,
        where=op.module,
        op=op.op,
        stride=op.stride,
        padding=op.padding,
        dilation=op.dilation,
        uneven_padding=op.uneven,
        effect=op.effect,
        fixable=op.fixable,
        reason=op.refusal,
        remedy=None if op.fixable else remedies.get(op.node),
    )
