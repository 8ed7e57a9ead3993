"""bordered: a graph whose paddings hold the other side of the map where the image has no border."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import bind, shape_of, short_name
from equiaudit.repair.rewrite.builder import Builder, Window
from equiaudit.repair.rewrite.levels import InputLevels
from equiaudit.repair.rewrite.rewrite import Globs, kept, same_tensors
from equiaudit.repair.rewrite.rules.windows import pair
from equiaudit.sampling.border import Fill, border_pad, has_border
from equiaudit.torch_private import called_as

aten = torch.ops.aten


@dataclass(frozen=True)
class _Padded:
    """An operation that pads: by how much, with what, and how to run it on a padded map."""

    x: fx.Node
    pads: tuple[int, int, int, int]
    """(left, right, top, bottom)"""
    fill: Fill
    run: Callable[[Builder, fx.Node], fx.Node]


def bordered(
    gm: fx.GraphModule, *, only: Globs = None, skip: Globs = None
) -> tuple[fx.GraphModule, int]:
    """`gm` with `border_pad` in its padding operations, and how many there are.

    Where the image has a border on both axes it computes what `gm` does, to rounding. Operations
    that pad in ways of their own (ceil_mode on a padded map, averages that leave padding out,
    align_corners, reflections) stay as they are, as do those that `only` and `skip` leave out.
    """
    b = Builder(same_tensors(gm), channels_last=False, levels=InputLevels((1, 1), whole=False))
    found: Any = None
    count = 0
    for node in gm.graph.nodes:
        if node.op == "call_module":  # the guards of torch.export
            continue
        apart = found is None or kept(node, only, skip)  # what the image does not reach
        padded = None if apart else _padding(node)
        if padded is None:
            b.env[node] = b.copy(node)
        else:
            count += 1
            size = shape_of(padded.x)[-2:]
            x = b.call(border_pad, b.value(padded.x), padded.pads, size, found, padded.fill)
            b.env[node] = padded.run(b, x)
        if found is None and _is_image(node):
            found = b.call(has_border, b.env[node], shape_of(node)[1], shape_of(node)[-2:])
    called_as(b.graph, gm)
    b.graph.eliminate_dead_code()
    b.graph.lint()
    return fx.GraphModule(b.root, b.graph, "Bordered").train(gm.training), count


def _is_image(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return node.op == "placeholder" and isinstance(value, torch.Tensor) and value.dim() == 4


def _padding(node: fx.Node) -> _Padded | None:
    """What the node pads, None where that is nothing or its own way."""
    if node.op != "call_function":
        return None
    reader = _READERS.get(short_name(node))
    if reader is None:
        return None
    padded = reader(node, bind(node))
    if padded is None or not any(padded.pads):
        return None
    fixed = all(n < 10**6 for n in (*shape_of(padded.x)[1:], *shape_of(node)[1:]))
    return padded if fixed and len(shape_of(padded.x)) == 4 else None


def _around(rows: int, columns: int) -> tuple[int, int, int, int]:
    return (columns, columns, rows, rows)


def _conv(node: fx.Node, args: dict[str, Any]) -> _Padded | None:
    if isinstance(args["padding"], str):
        return None
    return _sliding(node, args["input"], args["padding"], 0.0)


def _max_pool(node: fx.Node, args: dict[str, Any]) -> _Padded | None:
    return None if args["ceil_mode"] else _sliding(node, args["self"], args["padding"], -torch.inf)


def _avg_pool(node: fx.Node, args: dict[str, Any]) -> _Padded | None:
    if args["ceil_mode"] or not args["count_include_pad"]:
        return None
    return _sliding(node, args["self"], args["padding"], 0.0)


def _sliding(node: fx.Node, x: fx.Node, padding: Any, fill: Fill) -> _Padded:
    return _Padded(x, _around(*pair(padding)), fill, _without_padding(node, {"padding": [0, 0]}))


def _constant_pad(node: fx.Node, args: dict[str, Any]) -> _Padded | None:
    pads = tuple(args["pad"])
    plain = args.get("mode", "constant") == "constant" and len(pads) in (2, 4) and min(pads) >= 0
    if not plain:
        return None
    full: Any = pads if len(pads) == 4 else (*pads, 0, 0)
    return _Padded(args["self"], full, float(args["value"] or 0.0), lambda b, x: x)


def _transposed(node: fx.Node, args: dict[str, Any]) -> _Padded | None:
    """Neighbours whose kernels reach over the border are added around, and their rest is cut."""
    strides, pads, gaps = (pair(args[k]) for k in ("stride", "padding", "dilation"))
    spans = [d * (k - 1) for d, k in zip(gaps, shape_of(args["weight"])[2:], strict=True)]
    more = [-(-max(span + 1 - s, 0) // s) for span, s in zip(spans, strides, strict=True)]
    starts = [m * s + p for m, s, p in zip(more, strides, pads, strict=True)]
    crop = _cropped(starts, shape_of(node)[-2:])
    run = _without_padding(node, {"padding": [0, 0], "output_padding": [0, 0]}, crop)
    fits = all(
        o <= m * s for o, m, s in zip(pair(args["output_padding"]), more, strides, strict=True)
    )
    return _Padded(args["input"], _around(*more), 0.0, run) if fits else None


_NEIGHBOURS = {"upsample_bilinear2d": 1, "upsample_bicubic2d": 2}


def _upsampled(node: fx.Node, args: dict[str, Any]) -> _Padded | None:
    """The edge goes on beyond the border, and what was added is cut after."""
    x: fx.Node = args["input"] if "input" in args else args["self"]
    ratios = [Fraction(n, m) for n, m in zip(shape_of(node)[-2:], shape_of(x)[-2:], strict=True)]
    if args["align_corners"] or any(r.denominator != 1 for r in ratios):
        return None
    more, whole = _NEIGHBOURS[short_name(node)], [int(r) for r in ratios]
    sizes = [(n + 2 * more) * r for n, r in zip(shape_of(x)[-2:], whole, strict=True)]
    crop = _cropped([more * r for r in whole], shape_of(node)[-2:])
    overload = getattr(aten, short_name(node)).vec

    def run(b: Builder, padded: fx.Node) -> fx.Node:
        return crop(b, b.aten(overload, padded, sizes, False, None))

    return _Padded(x, _around(more, more), "edge", run)


def _without_padding(
    node: fx.Node,
    changes: dict[str, Any],
    after: Callable[[Builder, fx.Node], fx.Node] = lambda b, y: y,
) -> Callable[[Builder, fx.Node], fx.Node]:
    """Run the node's operator on a padded map."""

    def run(b: Builder, padded: fx.Node) -> fx.Node:
        _, *rest = (bind(node) | changes).values()
        return after(b, b.aten(node.target, padded, *(b.mapped(value) for value in rest)))

    return run


def _cropped(starts: list[int], size: tuple[int, ...]) -> Callable[[Builder, fx.Node], fx.Node]:
    rows, columns = (Window(start, count) for start, count in zip(starts, size, strict=True))
    return lambda b, y: b.crop(y, (rows, columns))


_READERS: dict[str, Callable[[fx.Node, dict[str, Any]], _Padded | None]] = {
    "conv2d": _conv,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "pad": _constant_pad,
    "constant_pad_nd": _constant_pad,
    "conv_transpose2d": _transposed,
    "upsample_bilinear2d": _upsampled,
    "upsample_bicubic2d": _upsampled,
}
