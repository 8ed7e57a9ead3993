"""A converted head with the tail of its file behind it, written as the file was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import fx

from equiaudit.errors import RunError, first_line
from equiaudit.graphs.nodes import learned_numbers
from equiaudit.graphs.outputs import all_outputs
from equiaudit.models.onnx import onnx_forward
from equiaudit.models.preprocess import preprocess_toml
from equiaudit.models.running import sample_of
from equiaudit.models.types import Preprocess
from equiaudit.repair.canonical.onnx_file import free_prefix, move_back
from equiaudit.repair.canonical.onnx_nodes import Writer
from equiaudit.repair.canonical.onnx_position import Image
from equiaudit.repair.onnx.check import QUANTISED_TOLERANCE
from equiaudit.repair.onnx.interface import free_names, restore_interface
from equiaudit.repair.onnx.module import ImportedOnnx
from equiaudit.repair.onnx.reader import Port
from equiaudit.repair.onnx.split import Split, Tail
from equiaudit.repair.options import OPSETS, Pad
from equiaudit.repair.save.canonical_net import CanonicalOnnx
from equiaudit.repair.save.formats import Run, exported_onnx, write_onnx
from equiaudit.repair.save.write import Saved
from equiaudit.sampling.positions import Positions

__all__ = ["CarriedOnnx", "tail_at"]

_POINT = "equiaudit_frame"
_TOLERANCE = 1e-4
"""Of the range: what the tail is given by the file may differ so far from what the graph gives."""


def tail_at(tail: Tail, version: int) -> onnx.ModelProto:
    """The tail in an operator set; RunError where a node of it has no form there."""
    own = next(o.version for o in tail.model.opset_import if o.domain in ("", "ai.onnx"))
    if own == version:
        return tail.model
    model = onnx.ModelProto()
    model.CopyFrom(tail.model)
    model.ir_version = max(model.ir_version, 8)
    try:
        return onnx.version_converter.convert_version(model, version)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"The nodes from {tail.first} on cannot be brought from operator set {own} to"
            f" {version}: {first_line(error)}.",
            tip="--method canonical leaves the file's operator set alone.",
        ) from error


@dataclass(frozen=True)
class CarriedOnnx(CanonicalOnnx):
    """The head as a graph, whose outputs are those of `split.head` and the point of the frame."""

    split: Split = field(kw_only=True)
    head: fx.GraphModule = field(kw_only=True)
    pad: Pad = field(default="wrap", kw_only=True)

    @property
    def parameters(self) -> int:
        """How many numbers the head has learned."""
        return learned_numbers(self.head)

    def save(
        self,
        path: Path,
        *,
        example: torch.Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """As ONNX; RunError for other kinds, which have no place for the tail."""
        if path.suffix.lower() != ".onnx":
            raise RunError(
                f"{path.name} cannot hold {self.split.tail.first}, which only ONNX has.",
                tip="Write a .onnx file; --method canonical leaves the model as it is.",
            )
        return super().save(path, example=example, preprocess=preprocess, check=check)

    def _write(self, path: Path) -> tuple[Path, ...]:
        write_onnx(self._whole, path)
        return ()

    @cached_property
    def _whole(self) -> onnx.ModelProto:
        """The file as it is written."""
        how = self.model.preprocess
        example = sample_of(how, 2)
        imported = _with_point(self.split.head)
        names = imported.output_names
        model = exported_onnx(self.head, example, preprocess_toml(how), self.pad, len(names))
        tail = tail_at(self.split.tail, OPSETS[self.pad])
        free_names(model.graph, _names(tail.graph) | set(_own(self.split)))
        model = restore_interface(model, imported)
        self._compare(model, example, names)
        self._join(model, tail)
        return model

    def _compare(self, model: onnx.ModelProto, example: torch.Tensor, names: Sequence[str]) -> None:
        """RunError where the head's file computes something else than its graph."""
        run = onnx_forward(model.SerializeToString(), torch.device("cpu"), what="the head")
        head = self.split.head
        leeway = QUANTISED_TOLERANCE if head.quantised else 1e-3 if head.widened else _TOLERANCE
        batch = example[: head.fixed_batch or len(example)]
        theirs = run(batch.permute(0, 2, 3, 1) if head.layout == "NHWC" else batch)
        with torch.no_grad():
            ours = all_outputs(self.head(batch))
        for name, mine in zip(names, ours, strict=True):
            a, b = mine.double(), theirs[name].double()
            spread = float(a.max() - a.min()) or 1.0
            if a.shape != b.shape or float((a - b).abs().max()) > leeway * spread:
                raise RunError(f"What {name!r} is in the file differs from the converted graph.")

    def _join(self, model: onnx.ModelProto, tail: onnx.ModelProto) -> None:
        """The tail's nodes and outputs in, positions moved by the point."""
        graph, split = model.graph, self.split
        made = {item.name: item for item in graph.output}
        graph.node.extend(tail.graph.node)
        graph.initializer.extend(tail.graph.initializer)
        del graph.output[:]
        graph.output.extend(made.get(item.name, item) for item in split.outputs)
        known = {item.domain for item in model.opset_import}
        model.opset_import.extend(o for o in tail.opset_import if o.domain not in known)
        writer = Writer(OPSETS[self.pad], free_prefix(graph))
        for name in {*split.tail.makes, *split.tail.reads}:
            role = self.roles.get(name)
            if isinstance(role, Positions):
                image = _image(split.head)
                move_back(writer, graph, name, _POINT, image, role, self.ranks[name])
        graph.node.extend(writer.nodes)


def _own(split: Split) -> list[str]:
    return [item.name for item in split.outputs]


def _names(graph: onnx.GraphProto) -> set[str]:
    found = {name for node in graph.node for name in (*node.input, *node.output)}
    return found | {item.name for item in (*graph.initializer, *graph.input, *graph.output)}


def _image(head: ImportedOnnx) -> Image:
    batch = head.fixed_batch or "batch"
    return Image(head.input.name, "", TensorProto.FLOAT, batch, head.channels, *head.size)


def _with_point(head: ImportedOnnx) -> ImportedOnnx:
    """The head as it is written: the point of the frame is one more output."""
    shell = onnx.ModelProto()
    shell.CopyFrom(head.shell)
    shape = [head.input.shape[0], 2]
    shell.graph.output.append(helper.make_tensor_value_info(_POINT, TensorProto.INT64, shape))
    port = Port(_POINT, "int64", tuple(shape))
    return replace(head, outputs=(*head.outputs, port), shell=shell)
