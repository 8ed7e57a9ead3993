"""Outputs that are positions: which they are, told by the user and guarded against silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch.utils import _pytree as pytree

from equiaudit.errors import InputError
from equiaudit.models.outputs import named_tensors
from equiaudit.repair.every_output import sample_of
from equiaudit.repair.graph import shape_of
from equiaudit.repair.methods.base import Misfit
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.onnx import OnnxCaptured
from equiaudit.repair.outputs import graph_outputs
from equiaudit.sampling.positions import PositionKind

__all__ = ["Returned", "kinds_of", "looks_like_positions", "returned_by", "returned_by_file"]

_KINDS = ("boxes", "keypoints", "none")
_WIDTHS = {4: "boxes", 2: "points"}


@dataclass(frozen=True)
class Returned:
    """What a model returns for two images: names and shapes of its tensors, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    ragged: bool
    """A list with one entry per image, as torchvision's detectors return."""


def returned_by(subject: Subject) -> Returned | None:
    """From one pass of the module, or from the graph where there is none; None where both fail."""
    model = subject.model
    if model.module is None:
        return _graph_returns(subject) if subject.has_graph else None
    if model.preprocess.layout != "NCHW":
        return None
    try:
        with torch.no_grad():
            returned: Any = model.module(sample_of(model.preprocess, 2).to(model.device))
    except Exception:  # capturing meets it again, and says so
        return None
    ragged = isinstance(returned, list) and any(isinstance(one, Mapping) for one in returned)
    pairs = list(named_tensors(returned))
    if len(pairs) != len(pytree.tree_leaves(returned)):
        return None
    names = tuple(name or str(place) for place, (name, _) in enumerate(pairs))
    return Returned(names, tuple(tuple(tensor.shape) for _, tensor in pairs), ragged)


def returned_by_file(path: Path) -> Returned | None:
    """What an ONNX file says it returns; a size it leaves open is 0."""
    outputs = onnx.load(path, load_external_data=False).graph.output
    shapes = tuple(
        tuple(dim.dim_value for dim in output.type.tensor_type.shape.dim) for output in outputs
    )
    return Returned(tuple(output.name for output in outputs), shapes, ragged=False)


def _graph_returns(subject: Subject) -> Returned:
    nodes = graph_outputs(subject.graph)
    names = tuple(map(str, range(len(nodes))))
    if isinstance(subject.captured, OnnxCaptured):
        names = subject.captured.imported.output_names
    return Returned(names[: len(nodes)], tuple(shape_of(node) for node in nodes), ragged=False)


def looks_like_positions(
    found: Returned | None, told: Sequence[tuple[str, str]], model: str
) -> Misfit | None:
    """Why a model whose outputs may be positions cannot be wrapped without being told."""
    if found is None:
        return None
    if found.ragged:
        return Misfit(
            f"{model} returns a list with one entry per image, as detectors do, and positions in"
            " it would stay where the rolled image has them.",
            "Export it with tensors (N, K, 4) for boxes, and name those with --positions.",
        )
    known = {name for name, _ in told}
    for place, (name, shape) in enumerate(zip(found.names, found.shapes, strict=True)):
        kind = _WIDTHS.get(shape[-1]) if len(shape) == 3 else None
        if kind is not None and not {name, str(place)} & known:
            return Misfit(
                f"Output {name!r} of {model} is {shape[1] or 'some'} rows of {shape[2]}, which look"
                f" like {kind}, and would stay where the rolled image has them.",
                f"Add --positions {name}={'boxes' if kind == 'boxes' else 'keypoints'} (px of the"
                f" input, x before y), or --positions {name}=none where they are something else.",
            )
    return None


def kinds_of(
    found: Returned | None, told: Sequence[tuple[str, str]], model: str
) -> tuple[PositionKind | None, ...]:
    """The kind of each output in turn; InputError for an output or a kind there is not."""
    if found is None:
        raise InputError(f"The outputs of {model} are not known, so none can be named.")
    kinds: list[PositionKind | None] = [None] * len(found.names)
    for name, kind in told:
        if kind not in _KINDS:
            raise InputError(
                f"--positions says {kind!r} of {name!r}.", tip=f"It is {', '.join(_KINDS)}."
            )
        kinds[_place(found, name, model)] = None if kind == "none" else cast(PositionKind, kind)
    return tuple(kinds)


def _place(found: Returned, name: str, model: str) -> int:
    if name in found.names:
        return found.names.index(name)
    if name.isdigit() and int(name) < len(found.names):
        return int(name)
    raise InputError(
        f"{model} has no output {name!r}.", tip=f"It has {', '.join(map(repr, found.names))}."
    )
