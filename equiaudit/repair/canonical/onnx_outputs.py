"""Positions moved back in ONNX nodes: what `roll_positions` computes, in the file's own types."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from onnx import TensorProto, helper

from equiaudit.errors import InputError
from equiaudit.repair.canonical.onnx_nodes import END, Writer
from equiaudit.repair.canonical.onnx_position import Image
from equiaudit.sampling.positions import Positions, cells_of

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def moved_positions(
    w: Writer, y: str, origin: str, image: Image, role: Positions, *, rank: int, element: int
) -> str:
    """`y` of `rank` axes and type `element`, moved by `origin` (B, 2), int64."""
    kind = element if element in _FLOATS else TensorProto.DOUBLE
    x = y if kind == element else w.cast(y, kind)
    flat = role.flat(rank)
    if flat:
        x, rank = w.reshape(x, [0, -1, 2]), 3
    if role.columns:
        x = w("Transpose", x, perm=[0, 2, 1])
    moved = _moved(w, x, origin, image, role, rank, kind)
    if role.columns:
        moved = w("Transpose", moved, perm=[0, 2, 1])
    moved = w.reshape(moved, [0, -1]) if flat else moved
    return moved if kind == element else w.cast(moved, element)


def _moved(
    w: Writer, x: str, origin: str, image: Image, role: Positions, rank: int, kind: int
) -> str:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    last, count = rank - 1, 2 * role.corners
    height, width = image.sides
    sides = w.cast(w.concat(0, w.extent(width), w.extent(height)), kind)  # x before y
    by = w.cast(w("Gather", origin, w.constant([1, 0]), axis=1), kind)
    around = sides
    if role.unit == "share":
        by, around = w("Div", by, sides), w.constant([1, 1], dtype)
    by = w.reshape(by, [-1, *([1] * (rank - 2)), 2])
    places = w.slice(x, last, 0, count)
    first, second = w.slice(places, last, 0, 2), w.slice(places, last, count - 2, count)
    if role.strides:
        cells = _cells(role, image)
        first = second = w("Add", first, w.constant(cells[:, :2], dtype))
        step = w.constant(cells[:, 2:], dtype)
        by, around = w("Div", by, step), w("Div", around, step)
    elif role.kind == "corner":
        second = w("Add", first, w.slice(x, last, 2, 4))
    two = w.constant(2, dtype)
    middle = w("Add", w("Add", first, second), w("Mul", by, two))
    turns = w("Floor", w("Div", middle, w("Mul", around, two)))
    step = w("Sub", by, w("Mul", turns, around))
    moved = w("Add", places, w.concat(last, *([step] * role.corners)))
    return w.concat(last, moved, w.slice(x, last, count, END))


def _cells(role: Positions, image: Image) -> NDArray[Any]:
    height, width = image.sides
    if isinstance(height, str) or isinstance(width, str):
        raise InputError(
            "The file takes images of any size, and boxes relative to cells are moved back on one.",
            tip="Export it for one height and width.",
        )
    return cells_of(role, (height, width)).numpy()
