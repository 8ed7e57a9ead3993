"""A file in two: what can be imported, and behind it the nodes that are carried along untouched.

Suppression, choices among as many boxes as there are, operators of other domains: what has no
equivalent, and all that reads it, is the tail. It is never read as a computation, only cut off: the
head is an ordinary file whose outputs are what the tail reads, and is imported like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper

from equiaudit.errors import NothingToDo
from equiaudit.graphs.quiet import quiet
from equiaudit.repair.onnx.module import ImportedOnnx, bounds, import_onnx
from equiaudit.repair.onnx.reader import DTYPES, Port, opset, read_model
from equiaudit.repair.onnx.trace import needed, translatable
from equiaudit.repair.onnx.values import Value, is_batch

__all__ = ["Split", "Tail", "split_onnx"]


@dataclass(frozen=True)
class Tail:
    """The nodes that are carried along, as a model of their own, and what they are about."""

    model: onnx.ModelProto
    """Its inputs are `reads`, and the file's image where its shape is asked for."""
    reads: tuple[str, ...]
    """Tensors of the head, by the names that they have in the file."""
    shapes: frozenset[str]
    """Those of them whose shape alone is asked for."""
    first: str
    """The node that it begins with: name and operator."""
    refusal: NothingToDo
    """Why that cannot be imported."""

    @property
    def makes(self) -> tuple[str, ...]:
        """The file's outputs that come from here."""
        return tuple(item.name for item in self.model.graph.output)


@dataclass(frozen=True)
class Split:
    """Both parts of a file, and its outputs in their order."""

    head: ImportedOnnx
    """Its outputs are those of the file that it makes, then what the tail reads."""
    tail: Tail
    outputs: tuple[onnx.ValueInfoProto, ...]


def split_onnx(
    path: Path, *, size: tuple[int, int] | None, channels: int | None, layout: str | None
) -> Split | None:
    """The file in two, or None where it has no tail, or a tail that reads the image itself.

    Raises as `import_onnx` does for the head.
    """
    model = read_model(path)
    image, found, shape = bounds(model, size, channels, layout)
    leading = image.shape[0] if isinstance(image.shape[0], int) else None
    with quiet():
        values, refused = translatable(
            model.graph, opset=opset(model), image=image.name, shape=shape, nhwc=found == "NHWC",
            fixed_batch=leading,
        )  # fmt: skip
    cut = _Cut(model, image, values, refused)
    if not cut.made or cut.image_is_read:
        return None
    tail = cut.tail()
    head = import_onnx(cut.head(tail.reads), size=size, channels=channels, layout=found)
    whole = tuple(model.graph.output)
    return Split(replace(head, opset=opset(model)), tail, whole)


class _Cut:
    """Which nodes are the tail, found from what has no equivalent on."""

    def __init__(
        self,
        model: onnx.ModelProto,
        image: Port,
        values: Mapping[str, Value],
        refused: Mapping[str, NothingToDo],
    ) -> None:
        self.model, self.image, self.values, self.refused = model, image, values, refused
        self.nodes = needed(model.graph)
        self.stored = {item.name: item for item in model.graph.initializer}
        self.maker = {name: k for k, node in enumerate(self.nodes) for name in node.output}
        outputs = [item.name for item in model.graph.output]
        self.taken: set[int] = set()
        self._take(name for name in outputs if name in refused or not self._is_cut(name))
        self.made = [name for name in outputs if self.maker.get(name, -1) in self.taken]

    def _is_cut(self, name: str) -> bool:
        """It depends on the image, with a row per image."""
        value = self.values.get(name)
        if name in self.refused or value is None or value.node is None or not value.ndim:
            return False
        return is_batch(value.shape[0])

    def _take(self, names: Iterable[str]) -> None:
        """The nodes that make `names`, back to where the head may be cut, and what reads them."""
        wanted = [*names, *(n for n in self.refused if n in self.maker)]
        while wanted:
            name = wanted.pop()
            place = self.maker.get(name)
            if place is None or place in self.taken:
                continue
            self.taken.add(place)
            wanted += [n for n in _reads(self.nodes[place]) if not self._is_cut(n)]

    @property
    def _own(self) -> list[onnx.NodeProto]:
        return [self.nodes[k] for k in sorted(self.taken)]

    def _reads(self) -> dict[str, bool]:
        """What the tail reads of the head and of the image: whether only its shape."""
        own = {name for node in self._own for name in node.output}
        found: dict[str, bool] = {}
        for node in self._own:
            for name in _reads(node):
                if name and name not in own and name not in self.stored:
                    found[name] = found.get(name, True) and node.op_type == "Shape"
        return found

    @property
    def image_is_read(self) -> bool:
        """Whether more of the image than its shape reaches the tail directly."""
        return not self._reads().get(self.image.name, True)

    def tail(self) -> Tail:
        """The nodes with the tensors that they need."""
        reads = {n: of_shape for n, of_shape in self._reads().items() if n != self.image.name}
        begins = set(self.refused or self.made)
        first = next(node for node in self._own if begins & set(node.output))
        graph = onnx.GraphProto(name="tail")
        graph.node.extend(self._own)
        used = {name for node in self._own for name in _reads(node)}
        graph.initializer.extend(item for name, item in self.stored.items() if name in used)
        graph.input.extend(self._described(reads))
        graph.input.extend(i for i in self.model.graph.input if i.name == self.image.name)
        graph.output.extend(o for o in self.model.graph.output if o.name in self.made)
        model = onnx.ModelProto(ir_version=self.model.ir_version, graph=graph)
        model.opset_import.extend(self.model.opset_import)
        why = next(iter(self.refused.values()), None)
        return Tail(
            model=model,
            reads=tuple(reads),
            shapes=frozenset(name for name, of_shape in reads.items() if of_shape),
            first=f"{first.name or first.output[0]} ({first.op_type})",
            refusal=why or NothingToDo(f"The output {self.made[0]!r} is not one row per image."),
        )

    def head(self, reads: Iterable[str]) -> onnx.ModelProto:
        """The file without these nodes; what the tail reads are outputs of it."""
        head = onnx.ModelProto()
        head.CopyFrom(self.model)
        graph = head.graph
        own = [item for item in graph.output if item.name not in self.made]
        cuts = self._described(set(reads) - {item.name for item in own})
        del graph.output[:]
        graph.output.extend([*own, *sorted(cuts, key=lambda item: item.name)])
        kept = needed(graph)
        del graph.node[:]
        graph.node.extend(kept)
        return head

    def _described(self, names: Iterable[str]) -> list[onnx.ValueInfoProto]:
        """Types and shapes of tensors of the head."""
        inferred = onnx.shape_inference.infer_shapes(self.model).graph.value_info
        stated = {item.name: item.type.tensor_type.elem_type for item in inferred}
        stated |= {o.name: o.type.tensor_type.elem_type for o in self.model.graph.output}
        made = []
        for name in names:
            data = self.values[name].data
            kind = stated.get(name) or _element(data.dtype)
            shape = [self.image.shape[0] if is_batch(n) else n for n in data.shape]
            made.append(helper.make_tensor_value_info(name, kind, shape))
        return made


def _element(dtype: torch.dtype) -> int:
    return next((kind for kind, known in DTYPES.items() if known == dtype), TensorProto.FLOAT)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, inside graphs of its own too: names are not shadowed."""
    yield from node.input
    inner = [g for a in node.attribute for g in (a.g, *a.graphs)]
    for graph in inner:
        made = {name for each in graph.node for name in each.output}
        made |= {item.name for item in (*graph.initializer, *graph.input)}
        for each in graph.node:
            yield from (name for name in _reads(each) if name not in made)
        yield from (item.name for item in graph.output if item.name not in made)
