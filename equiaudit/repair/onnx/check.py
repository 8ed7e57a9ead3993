"""An imported module against onnxruntime, on random images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import onnx
import torch
from onnx import AttributeProto, TensorProto, numpy_helper
from torch import nn

from equiaudit.errors import NothingToDo
from equiaudit.models.onnx import onnx_forward
from equiaudit.repair.onnx.reader import CANONICAL_TIP, Port
from equiaudit.repair.onnx.requantise import quantised

TOLERANCE = 1e-5
"""Largest error against onnxruntime, as a share of an output's range.

A net that blows up its inputs' last bits is held to what float32 itself determines: to four
times the difference between its own float32 and float64 results.
"""

QUANTISED_TOLERANCE = 0.1
"""The same for a file of integers: a sum that rounds otherwise at one place moves all behind it by
whole steps of their scales. onnxruntime's own results, optimised and not, differ as much."""
_MEAN_QUANTISED = 0.02
"""The largest mean difference of these, as a share of the range."""

_BATCHES = (1, 3)
_PROBES = ((1.0, TOLERANCE), (50.0, 100 * TOLERANCE))
"""Gains and tolerances: values of the size of normalised pixels, then of raw ones. The second
also reaches bounds that the first stays within; there kernels' approximations count more."""
_TO_FLOAT: dict[int, int] = {TensorProto.FLOAT16: TensorProto.FLOAT}
_CPU = torch.device("cpu")
_TIES = 1e-3
"""The share of whole numbers that may differ, as the places of maxima do in near ties."""
_ROUNDING = 4 * torch.finfo(torch.float32).eps


def disagreement(
    module: nn.Module,
    model: onnx.ModelProto,
    image: Port,
    outputs: Sequence[Port],
    shape: Sequence[int],
    *,
    nhwc: bool,
) -> float:
    """The largest difference over any output's range, on images of unit variance.

    Images fifty times that are tried too, at another batch size where that is free.

    `module` maps float32 (N, *shape), channels first, to the file's outputs. A file that
    computes in float16 is run with its own weights in float32.
    Raises NothingToDo where the difference is above `TOLERANCE`, or shapes or whole numbers
    differ. `module` is not changed.
    """
    fixed = image.shape[0] if isinstance(image.shape[0], int) else None
    run = onnx_forward(in_float32(model).SerializeToString(), _CPU, what="the ONNX model")
    worst, in_integers = 0.0, bool(quantised(model))
    generator = torch.Generator().manual_seed(0)
    batches = (fixed, fixed) if fixed else _BATCHES
    for batch, (gain, tolerance) in zip(batches, _PROBES, strict=True):
        x = _images((batch, *shape), gain, image.dtype, generator)
        theirs = _run(run, x.permute(0, 2, 3, 1) if nhwc else x, image.dtype)
        ours = _results(module, x)
        errors = [
            _compared(value, theirs[port.name], port.name)
            for port, value in zip(outputs, ours, strict=True)
        ]
        if in_integers:
            for port, value, error in zip(outputs, ours, errors, strict=True):
                _check_steps(value, theirs[port.name], error, port.name)
        elif max(errors) > tolerance:
            _excuse(module, x, ours, errors, outputs, tolerance)
        worst = max(worst, *errors) if gain == 1.0 else worst
    if fixed:
        _check_free_batch(
            module, _images((2 * fixed + 1, *shape), 1.0, image.dtype, generator), outputs[0]
        )
    return worst


def _results(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    try:
        with torch.no_grad():
            result = module(x)
    except (RuntimeError, MemoryError) as error:
        raise _not_run("torch", x, error) from error
    return [result] if isinstance(result, torch.Tensor) else list(result)


def _check_steps(ours: torch.Tensor, theirs: torch.Tensor, error: float, name: str) -> None:
    """NothingToDo where a quantised output differs by more than roundings at some places do."""
    spread = (theirs.double().max() - theirs.double().min()).item() or 1.0
    mean = (ours.double() - theirs.double()).abs().mean().item() / spread
    if error > QUANTISED_TOLERANCE or mean > _MEAN_QUANTISED:
        how = f"differs from onnxruntime's by {error:.1e} of its range, {mean:.1e} in the mean"
        raise _differs(name, how)


def _excuse(
    module: nn.Module,
    x: torch.Tensor,
    ours: Sequence[torch.Tensor],
    errors: Sequence[float],
    outputs: Sequence[Port],
    tolerance: float,
) -> None:
    """NothingToDo for an output whose error its own rounding in float32 does not explain."""
    wide = _results(copy.deepcopy(module).double(), x.double())
    for port, value, exact, error in zip(outputs, ours, wide, errors, strict=True):
        if error > tolerance and not error <= 4 * _share(value, exact):
            raise _differs(port.name, f"differs from onnxruntime's by {error:.1e} of its range")


def _images(
    shape: Sequence[int], gain: float, dtype: str, generator: torch.Generator
) -> torch.Tensor:
    if dtype == "uint8":
        return torch.randint(0, 256, tuple(shape), generator=generator).float()
    return torch.randn(tuple(shape), generator=generator) * gain


def _run(
    run: Callable[[torch.Tensor], dict[str, torch.Tensor]], x: torch.Tensor, dtype: str
) -> dict[str, torch.Tensor]:
    try:
        return run(x.to(torch.uint8) if dtype == "uint8" else x)
    except Exception as error:  # onnxruntime's exceptions derive from nothing narrower
        raise _not_run("onnxruntime", x, error) from error


def _not_run(who: str, x: torch.Tensor, error: Exception) -> NothingToDo:
    reason = [*str(error).strip().splitlines(), type(error).__name__][0].rstrip(".")[:200]
    shape = "x".join(map(str, x.shape[1:]))
    return NothingToDo(
        f"{who} cannot run the ONNX model on {len(x)} images of {shape}: {reason}.",
        tip=CANONICAL_TIP,
    )


def _compared(ours: torch.Tensor, theirs: torch.Tensor, name: str) -> float:
    if ours.shape != theirs.shape:
        raise _differs(name, f"has shape {tuple(ours.shape)}, not {tuple(theirs.shape)}")
    if not theirs.is_floating_point():
        if (ours != theirs).double().mean().item() > _TIES:
            raise _differs(name, "has other values")
        return 0.0
    if not torch.equal(ours.isfinite(), theirs.isfinite()):
        raise _differs(name, "is infinite or no number elsewhere")
    return _share(ours, theirs)


def _share(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the expected range.

    Values that hardly differ from each other cannot agree better than float32 rounds: that
    much of the difference does not count.
    """
    finite = expected.isfinite()
    a, b = actual[finite].double(), expected[finite].double()
    if not b.numel() or torch.equal(a, b):
        return 0.0
    spread = (b.max() - b.min()).item()
    excess = max(0.0, (a - b).abs().max().item() - _ROUNDING * b.abs().max().item())
    return excess / spread if spread else float(excess > 0)


def _check_free_batch(module: nn.Module, batch: torch.Tensor, main: Port) -> None:
    """A file of one batch size: any batch must give what its images give by themselves."""
    together, single = _results(module, batch)[0], _results(module, batch[-1:])[0]
    if single.shape[:1] != (1,) or _share(together[-1:], single) > TOLERANCE:
        raise _differs(main.name, "depends on the other images of its batch")


def _differs(name: str, how: str) -> NothingToDo:
    return NothingToDo(f"The imported ONNX model's output {name!r} {how}.", tip=CANONICAL_TIP)


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float16 in it widened; itself where there is none."""
    if not _halves(model):
        return model
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    del wide.graph.value_info[:]
    for item in wide.graph.initializer:
        _widen(item)
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to":
                attribute.i = _TO_FLOAT.get(attribute.i, attribute.i)
    for port in (*wide.graph.input, *wide.graph.output):
        kind = port.type.tensor_type
        kind.elem_type = _TO_FLOAT.get(kind.elem_type, kind.elem_type)
    return wide


def _halves(model: onnx.ModelProto) -> bool:
    ports = (*model.graph.input, *model.graph.output)
    attributes = [a for node in model.graph.node for a in node.attribute]
    return any(
        kind in _TO_FLOAT
        for kind in (
            *(port.type.tensor_type.elem_type for port in ports),
            *(item.data_type for item in model.graph.initializer),
            *(a.t.data_type for a in attributes),
            *(a.i for a in attributes if a.name == "to"),
        )
    )


def _widen(item: TensorProto) -> None:
    if item.data_type in _TO_FLOAT:
        array = numpy_helper.to_array(item).astype("float32")
        item.CopyFrom(numpy_helper.from_array(array, item.name))
