"""What a net costs: latency measured in turns, parameters, bytes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import onnx
import torch

from equiaudit.models.onnx import external_files
from equiaudit.models.types import Model
from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.net import Net
from equiaudit.repair.save.write import Saved
from equiaudit.results import Estimate
from equiaudit.results.repair import Cost

_ROUNDS = 7
_TURNS = 21
_LOW, _HIGH = 5, 15
"""Of 21 sorted ratios, the sixth and the sixteenth enclose the median in 97.3% of runs."""
_COUNTS = ("INT32", "INT64", "UINT32", "UINT64", "BOOL", "STRING", "UNDEFINED")
"""Types of shapes, places and masks; whatever else a file holds was learned."""
_QUANTISED = ("DequantizeLinear", "QLinearConv")
"""What takes biases of int32."""


def costs(
    before: Net, after: Net, batch: torch.Tensor, source: Model, saved: Saved
) -> tuple[Cost, Cost]:
    """The cost of both on `batch`, on its device: the median of seven runs each, in turns.

    `source` is the model that `before` came from, `saved` what was written of `after`.
    """
    runs = [net.on(batch.device.type) for net in (before, after)]
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for _ in range(_ROUNDS + 1):
            for run, taken in zip(runs, times, strict=True):
                taken.append(_seconds(run, batch))
    first, second = (statistics.median(taken[1:]) * 1e3 for taken in times)
    own = file_bytes(source)
    counts = _parameters(before, after, source, saved.path)
    return (
        _cost(batch, first, counts[0], own),
        _cost(batch, second, counts[1], _written_bytes(saved)),
    )


def slowdown(before: Net, after: Net, batch: torch.Tensor) -> Estimate:
    """Time of `after` over time of `before` on `batch` on the CPU: the median of 21 turns.

    The interval is that of order statistics; `n` counts turns.
    """
    first, second = before.on("cpu"), after.on("cpu")
    with torch.inference_mode():
        ratios = [_ratio(first, second, batch) for _ in range(_TURNS + 1)][1:]
    ratios.sort()
    return Estimate(
        value=ratios[_TURNS // 2],
        low=ratios[_LOW],
        high=ratios[_HIGH],
        n=_TURNS,
        method="order-statistics",
        confidence=0.973,
    )


def _ratio(first: Run, second: Run, batch: torch.Tensor) -> float:
    before = _seconds(first, batch)
    return _seconds(second, batch) / before


def _seconds(run: Run, batch: torch.Tensor) -> float:
    start = time.perf_counter()
    run(batch)
    if batch.device.type == "cuda":
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - start


def _cost(batch: torch.Tensor, latency: float, parameters: int, size: int | None) -> Cost:
    return Cost(
        latency_ms=latency,
        batch_size=len(batch),
        threads=torch.get_num_threads(),
        device=batch.device.type,
        parameters=parameters,
        bytes=size,
    )


def _parameters(before: Net, after: Net, source: Model, out: Path) -> tuple[int, int]:
    """Of both: as ONNX files hold them where one was made of the other, else of the graphs."""
    if source.kind != "onnx" or source.path is None:
        return before.parameters, after.parameters
    own = onnx_parameters(source.path)
    named_onnx = ".onnx" in out.suffixes[-2:]  # the last may be .unverified
    return own, onnx_parameters(out) if named_onnx else after.parameters or own


def file_bytes(model: Model) -> int | None:
    """Of the model's file and the data that an ONNX file keeps beside it; None for no file."""
    path = model.path
    if path is None or not path.is_file():
        return None
    if model.kind != "onnx":
        return path.stat().st_size
    beside = external_files(onnx.load(path, load_external_data=False), path)
    return path.stat().st_size + sum(part.stat().st_size for part in beside)


def _written_bytes(saved: Saved) -> int:
    """Of the file and what it cannot run without."""
    parts = (part for part in saved.companions if ".toml" not in part.suffixes)
    return sum(part.stat().st_size for part in (saved.path, *parts))


def onnx_parameters(path: Path) -> int:
    """Elements of the tensors that an ONNX file holds, as initialisers or as constants.

    Floats and quantised numbers count; shapes, indices and single constants do not.
    """
    model = onnx.load(path, load_external_data=False)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    biases = {name for node in nodes if node.op_type in _QUANTISED for name in node.input}
    kept = (*_initialisers(model.graph), *_constants(nodes))
    return sum(_elements(tensor, biases) for tensor in kept)


def _initialisers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values


def _constants(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and math.prod(attribute.t.dims) > 1:
                yield attribute.t
            for graph in (attribute.g, *attribute.graphs):
                yield from _initialisers(graph)
                yield from _constants(graph.node)


def _elements(tensor: onnx.TensorProto, biases: Container[str]) -> int:
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    counts = kind in _COUNTS and not (kind == "INT32" and tensor.name in biases)
    return 0 if counts else math.prod(tensor.dims)
