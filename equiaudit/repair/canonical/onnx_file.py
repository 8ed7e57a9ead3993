"""`canonical` for ONNX files: nodes before the model, and after its maps, and nothing else.

The model's own nodes are not read, run or changed, so any file will do: any operators, control
flow, integer models, custom domains. See `equiaudit.sampling.canonical` for what it means.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import onnx
from onnx import TensorProto, helper

from equiaudit.errors import InputError
from equiaudit.models.onnx import external_files, read_onnx
from equiaudit.repair.canonical.onnx_nodes import END, Extent, Writer
from equiaudit.repair.canonical.onnx_opset import raise_opset
from equiaudit.repair.canonical.onnx_outputs import moved_positions
from equiaudit.repair.canonical.onnx_position import Image, position
from equiaudit.sampling.positions import Map, Positions, Role

PREFIX = "equiaudit_canonical_"
_SLICE_INFERRED = 13
"""Before, a slice of an axis with a name was taken for one of the axis's length; a shape that is
computed has no names."""
Layout = Literal["NCHW", "NHWC"]
_ELEMENTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8)


def canonical_onnx(
    source: Path,
    target: Path,
    *,
    dense_outputs: Sequence[str] = (),
    every_output: bool = False,
    roles: Mapping[str, Role] | None = None,
    ranks: Mapping[str, int] | None = None,
    layout: Layout = "NCHW",
    output_layout: Layout | None = None,
    channels: int | None = None,
) -> tuple[Path, ...]:
    """Write the model at `source`, behind a roll of its input to a canonical position, to `target`.

    The outputs named are maps and are rolled back, or `every_output`; the others are left as
    they are, and must say nothing about places. `layout` is that of the input, `output_layout`
    that of the maps (None: the same); maps without channels have neither. `channels` counts those
    of an input that does not say. `roles` say of outputs
    by name what they are instead, positions among them, and `ranks` how many axes those have.
    Names, types and dynamic axes of inputs and outputs, metadata and every node of the model
    stay. Files below operator set 10 are declared to be of that (see `raise_opset`).

    External data is copied to ``TARGET.data`` beside the target (numbered where it is in several
    files); returns those files. Raises InputError where the file is damaged, does not take one
    batch of images, has an operator set below 7, or where an output named is not there or is no
    map that could be put back.
    """
    model = read_onnx(source)
    data = {str(path.relative_to(source.parent)): path for path in external_files(model, source)}
    if every_output:
        dense_outputs = [item.name for item in model.graph.output]
    changed = with_canonical(
        model,
        dense_outputs=dense_outputs,
        roles=roles,
        ranks=ranks,
        layout=layout,
        output_layout=output_layout,
        channels=channels,
        what=source.name,
    )
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent} to write {target.name} into.")
    names = _names_of_data(data, target)
    _rename_data(changed, names)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        for place, path in data.items():
            shutil.copyfile(path, Path(folder) / names[place])
        onnx.save(changed, Path(folder) / target.name)
        for name in (*names.values(), target.name):
            os.replace(Path(folder) / name, target.parent / name)
    return tuple(target.parent / name for name in names.values())


def _names_of_data(places: Iterable[str], target: Path) -> dict[str, str]:
    """Place in the original -> file beside the target."""
    places = sorted(places)
    numbers = [f".{k}" for k in range(len(places))] if len(places) > 1 else [""]
    return {
        place: f"{target.name}{number}.data" for place, number in zip(places, numbers, strict=False)
    }


def _rename_data(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    tensors = list(_tensors(model.graph))
    for function in model.functions:
        tensors += _tensors_of(function.node)
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = names[str(Path(entry.value))]


def _tensors(graph: onnx.GraphProto) -> Iterable[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
        for inner in _graphs(node):
            yield from _tensors(inner)


def with_canonical(
    model: onnx.ModelProto,
    *,
    dense_outputs: Sequence[str] = (),
    roles: Mapping[str, Role] | None = None,
    ranks: Mapping[str, int] | None = None,
    layout: Layout = "NCHW",
    output_layout: Layout | None = None,
    channels: int | None = None,
    what: str = "The model",
) -> onnx.ModelProto:
    """The model with the nodes added; see `canonical_onnx`. `model` itself is left as it is."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    opset = raise_opset(changed, what)
    graph = changed.graph
    given = _image_input(graph, what)
    writer = Writer(opset, free_prefix(graph))
    image, axes = _described(writer, given, layout, channels, what)
    origin = position(writer, image)
    element, batch, rows = image.element, image.batch, image.height
    rolled = roll(writer, image.given, origin, element=element, batch=batch, axes=axes, rows=rows)
    _rename_uses(graph.node, given.name, rolled)
    before = list(writer.nodes)
    writer.nodes.clear()
    for name in dense_outputs:
        rank = _rank(graph, name, what)
        last = (output_layout or layout) == "NHWC" or rank == 3
        _put_back(writer, graph, name, origin, image, (1, 2) if last else (2, 3), what, rank)
    for name, role in (roles or {}).items():
        rank = (ranks or {}).get(name, 4)
        if isinstance(role, Map):
            places = (1, 2) if role.channels_last or rank == 3 else (2, 3)
            _put_back(writer, graph, name, origin, image, places, what, rank)
        elif isinstance(role, Positions):
            move_back(writer, graph, name, origin, image, role, rank)
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *own, *writer.nodes])
    return changed


# The input


def _image_input(graph: onnx.GraphProto, what: str) -> onnx.ValueInfoProto:
    """Old files list the initialisers among the inputs; what is left is the image."""
    initialisers = {tensor.name for tensor in graph.initializer}
    inputs: list[onnx.ValueInfoProto]
    inputs = [item for item in graph.input if item.name not in initialisers]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise InputError(f"{what} does not take one 4-D batch of images as its only input.")
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in _ELEMENTS:
        name = TensorProto.DataType.Name(kind).lower()
        raise InputError(f"{what} takes {name} input; floats and uint8 can be rolled.")
    return inputs[0]


def _described(
    w: Writer, given: onnx.ValueInfoProto, layout: Layout, known: int | None, what: str
) -> tuple[Image, tuple[int, int]]:
    """The input as (B, C, H, W), and the axes that are H and W in the file."""
    kind = given.type.tensor_type
    sides: list[int | None] = [
        dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim
    ]
    order, axes = ((0, 1, 2, 3), (2, 3)) if layout == "NCHW" else ((0, 3, 1, 2), (1, 2))
    channels = sides[order[1]] or known
    if channels is None:
        raise InputError(
            f"{what} does not say how many channels its input {given.name!r} has.",
            tip=f"State the shape of the input, and --layout if it is not {layout}.",
        )
    if any(sides[axis] == 1 for axis in axes):
        raise InputError(f"{what} takes images of one line, which have no place to move to.")
    name = given.name
    if w.opset < _SLICE_INFERRED and None in [sides[axis] for axis in axes]:
        name = w("Reshape", name, w("Shape", name))
    extents = _extents(w, name, sides)
    raw = name if layout == "NCHW" else w("Transpose", name, perm=list(order))
    batch, height, width = (extents[order[k]] for k in (0, 2, 3))
    image = Image(name, raw, kind.elem_type, batch, channels, height, width)
    return image, axes


def _extents(w: Writer, name: str, sides: Sequence[int | None]) -> list[Extent]:
    if None not in sides:
        return [side for side in sides if side is not None]
    shape = w("Shape", name)
    return [
        side if side is not None else w.slice(shape, 0, axis, axis + 1)
        for axis, side in enumerate(sides)
    ]


# Rolling


def roll(
    w: Writer,
    x: str,
    starts: str,
    *,
    element: int,
    batch: Extent,
    axes: tuple[int, int],
    rows: Extent,
    rank: int = 4,
) -> str:
    """Every sample of x (of `rank`, `rows` along the first of `axes`) as a circle from its own
    `starts` (B, 2) on, which lie within it."""
    rows_, indices = w.extent(rows), w.indices(rows)
    if batch == 1:
        return _rolled(w, x, w.reshape(starts, [-1]), axes, (rows_, indices))
    inner = w.branch()
    sample, start = inner.name("sample"), inner.name("start")
    described = [
        helper.make_tensor_value_info(sample, element, [None] * (rank - 1)),
        helper.make_tensor_value_info(start, TensorProto.INT64, [2]),
    ]
    moved = _rolled(inner, sample, start, (axes[0] - 1, axes[1] - 1), (rows_, indices))
    body = inner.graph([moved], described, element=element, shape=[None] * (rank - 1))
    return w("Scan", x, starts, body=body, num_scan_inputs=2)


def _rolled(w: Writer, x: str, starts: str, axes: tuple[int, int], rows: tuple[str, str]) -> str:
    """x from `starts` (2,) on; `rows` is how many there are, and their indices."""
    start = w.slice(starts, 0, 0, 1)
    x = w("Gather", x, w("Mod", w("Add", rows[1], start), rows[0]), axis=axes[0])
    start = w.slice(starts, 0, 1, 2)
    return w.concat(axes[1], w.slice(x, axes[1], start, END), w.slice(x, axes[1], 0, start))


# The outputs


def _rank(graph: onnx.GraphProto, name: str, what: str) -> int:
    """Of an output that is a map: 4, or 3 where it has no channels."""
    kinds = {item.name: item.type.tensor_type for item in graph.output}
    stated = name in kinds and kinds[name].HasField("shape")
    rank = len(kinds[name].shape.dim) if stated else 4
    if rank not in (3, 4):
        raise InputError(f"The output {name!r} of {what} is no map: it has {rank} axes, not 4.")
    return rank


def _put_back(
    w: Writer,
    graph: onnx.GraphProto,
    name: str,
    origin: str,
    image: Image,
    axes: tuple[int, int],
    what: str,
    rank: int = 4,
) -> None:
    """Roll a map back by the origin, in its own steps, under the name it always had."""
    outputs = {item.name: item.type.tensor_type for item in graph.output}
    if name not in outputs:
        raise InputError(f"{what} has no output {name!r}.", tip=f"It has {', '.join(outputs)}.")
    kind = outputs[name]
    if kind.HasField("shape") and len(kind.shape.dim) != rank:
        raise InputError(
            f"The output {name!r} of {what} is no map: it has {len(kind.shape.dim)} axes,"
            f" not {rank}."
        )
    inside = w.name("map")
    _rename_everywhere(graph, name, inside)
    shape = w("Shape", inside)
    starts, rows = [], w.slice(shape, 0, axes[0], axes[0] + 1)
    for k, (axis, side) in enumerate(zip(axes, image.sides, strict=True)):
        _check_steps(kind, axis, side, name, what)
        steps = w.slice(shape, 0, axis, axis + 1)
        offset = w.slice(origin, 1, k, k + 1)
        moved = w("Div", w("Mul", offset, steps), w.extent(side))
        starts.append(w("Mod", w("Neg", moved), steps))
    back = roll(
        w,
        inside,
        w.concat(1, *starts),
        element=kind.elem_type,
        batch=image.batch,
        axes=axes,
        rows=rows,
        rank=rank,
    )
    w.nodes.append(helper.make_node("Identity", [back], [name], name=w.name("output")))


def move_back(
    w: Writer,
    graph: onnx.GraphProto,
    name: str,
    origin: str,
    image: Image,
    role: Positions,
    rank: int,
) -> None:
    """Move the output `name`, positions, back by the origin, under the name they always had."""
    kind = next(item.type.tensor_type for item in graph.output if item.name == name)
    inside = w.name("positions")
    _rename_everywhere(graph, name, inside)
    back = moved_positions(w, inside, origin, image, role, rank=rank, element=kind.elem_type)
    w.nodes.append(helper.make_node("Identity", [back], [name], name=w.name("output")))


def _check_steps(
    kind: onnx.TypeProto.Tensor, axis: int, side: Extent, name: str, what: str
) -> None:
    steps = kind.shape.dim[axis].dim_value if kind.HasField("shape") else 0
    if not steps or isinstance(side, str) or steps % side == 0 or side % steps == 0:
        return
    raise InputError(
        f"The output {name!r} of {what} has {steps} steps for {side} pixels: it cannot be put"
        " back in place, since neither is a multiple of the other."
    )


# Names


def free_prefix(graph: onnx.GraphProto) -> str:
    """`PREFIX`, or with a number where the file has such names: it was converted before."""
    taken = set(_names(graph))
    prefix, number = PREFIX, 2
    while any(name.startswith(prefix) for name in taken):
        prefix, number = f"{PREFIX}{number}_", number + 1
    return prefix


def _names(graph: onnx.GraphProto) -> Iterable[str]:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
        for inner in _graphs(node):
            yield from _names(inner)


def _graphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _rename_uses(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Let nodes read `new` for `old`, inside graphs of their own too: names are not shadowed."""
    for node in nodes:
        for k, name in enumerate(node.input):
            if name == old:
                node.input[k] = new
        for inner in _graphs(node):
            _rename_uses(inner.node, old, new)
            for value in inner.output:
                if value.name == old:
                    value.name = new


def _rename_everywhere(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a tensor of the graph another name, where it is made and where it is read."""
    _rename_uses(graph.node, old, new)
    for node in graph.node:
        for k, name in enumerate(node.output):
            if name == old:
                node.output[k] = new
    for value in graph.value_info:
        if value.name == old:
            value.name = new
