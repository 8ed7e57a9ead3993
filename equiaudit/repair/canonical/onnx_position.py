"""`canonical_origin` in ONNX nodes: the same decision on the same pixels, to the last tie.

Each function writes what the one of the same name in `equiaudit.sampling` computes; floats hold
whole numbers below 2^24, or quotients of them, and everything else is int64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from equiaudit.repair.canonical.onnx_nodes import END, Extent, Writer
from equiaudit.sampling import exact_views as views
from equiaudit.sampling import seam_contrast as contrast
from equiaudit.sampling import seam_evidence as evidence

_FLOAT, _DOUBLE, _INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
_BOUNDS = ("ReduceMin", "ReduceMax")


@dataclass(frozen=True)
class Image:
    """A batch (B, C, H, W): the names of its tensors and how large it is."""

    given: str
    """As the file takes it."""
    raw: str
    """As (B, C, H, W)."""
    element: int
    """Its type, of `TensorProto`."""
    batch: Extent
    channels: int
    height: Extent
    width: Extent

    @property
    def sides(self) -> tuple[Extent, Extent]:
        """(H, W)."""
        return self.height, self.width

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) where both are known before the model runs."""
        height, width = self.sides
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def position(w: Writer, image: Image) -> str:
    """Write nodes that compute `canonical_origin`; returns the origin (B, 2), int64."""
    size = image.size
    if size is not None and not contrast.contrast_suffices(size):
        lines = _seam_evidence(w, image)
        point, gap = _best_lines(w, *lines, image)
        return _decided(w, image, point, gap, lambda inner: lines)
    point, gap = _best_contrast(w, image)
    if size is None:
        gap = w("Where", _contrast_suffices(w, image), gap, w.constant(0, np.float32))
    return _decided(w, image, point, gap, lambda inner: _seam_evidence(inner, image))


def _contrast_suffices(w: Writer, image: Image) -> str:
    height, width = (w.extent(side) for side in image.sides)
    pixels = w("Mul", height, width)
    sides = w.concat(0, height, width)
    least, most = (w.reduce(op, sides, [0], True) for op in ("ReduceMin", "ReduceMax"))
    limits = [
        w("Greater", pixels, w.constant([contrast.LEAST_PIXELS - 1])),
        w("Greater", least, w.constant([contrast.LEAST_SIDE - 1])),
        w("Less", most, w.constant([contrast.MOST_SIDE + 1])),
    ]
    return w("And", w("And", limits[0], limits[1]), limits[2])


def _decided(
    w: Writer, image: Image, point: str, gap: str, lines: Callable[[Writer], tuple[str, str]]
) -> str:
    """`point` (B, 2) where no `gap` (B, 2) is zero; the others by every bit of the image."""
    zero = w.constant(0, np.float32)

    def look(inner: Writer) -> str:
        clear = inner("Greater", inner.reduce("ReduceMin", gap, [1], True), zero)
        best = _best_point(inner, *lines(inner), _exact_views(inner, image), image)
        return inner("Where", clear, point, best)

    all_clear = w("Greater", w.reduce("ReduceMin", gap, [0, 1]), zero)
    return w.choose(all_clear, lambda inner: inner("Identity", point), look)


# What both rules begin with


def _as_float(w: Writer, x: str, image: Image) -> str:
    return x if image.element == _FLOAT else w.cast(x, _FLOAT)


def _scale_to_levels(w: Writer, x: str) -> str:
    """(B, 1, 1, 1)."""
    top = w.reduce("ReduceMax", w("Abs", x), [1, 2, 3], True)
    top = w("Max", top, w.constant(evidence.TINY, np.float32))
    return w("Div", w.constant(evidence.LEVELS, np.float32), top)


def _brightness_and_colour(w: Writer, whole: str, channels: int) -> str:
    brightness = w.reduce("ReduceSum", whole, [1], True)
    if channels == 1:
        return brightness
    first, last = w.slice(whole, 1, 0, 1), w.slice(whole, 1, channels - 1, channels)
    colour = w("Mul", w("Sub", first, last), w.constant(evidence.COLOUR, np.float32))
    return w.concat(1, brightness, colour)


def _root(w: Writer, magnitude: str) -> str:
    return w.round(w("Sqrt", magnitude))


def _magnitude(w: Writer, difference: str) -> str:
    return w.reduce("ReduceSum", w("Abs", difference), [1])


# The contrast of each line


def _best_contrast(w: Writer, image: Image) -> tuple[str, str]:
    """The lines (B, 2), int64, and how far each is ahead (B, 2), float32; 0 is a tie."""
    middle = image.channels // 2
    x = _as_float(w, w.slice(image.raw, 1, middle, middle + 1), image)
    whole = w.round(w("Mul", x, _scale_to_levels(w, x)))
    bounds = [w.reshape(w.reduce(op, whole, [2, 3], True), [0, 1, 1]) for op in _BOUNDS]
    # Summing along rows is several times as fast as summing along columns.
    turned = w("Transpose", whole, perm=[0, 1, 3, 2])
    steps = [
        _steps(w, whole, bounds, image.width),
        _steps(w, turned, bounds, image.height),
    ]
    if image.height == image.width:  # then both are looked at as one
        both, quiet = (w.concat(1, *parts) for parts in zip(*steps, strict=True))
        return _best_line(w, both, quiet, image.height, image.width)
    best = [
        _best_line(w, *found, image.sides[axis], image.sides[1 - axis])
        for axis, found in enumerate(steps)
    ]
    (row, ahead), (column, column_ahead) = best
    return w.concat(1, row, column), w.concat(1, ahead, column_ahead)


def _steps(w: Writer, whole: str, bounds: Sequence[str], length: Extent) -> tuple[str, str]:
    """Sums of differences after each line of (B, 1, lines, length): (B, 1, lines).

    And the same with 0 where a line is all of the least or the largest value, `bounds` (B, 1, 1).
    """
    after = w.concat(2, w.slice(whole, 2, 1, END), w.slice(whole, 2, 0, 1))
    steps = w.reduce("ReduceSum", w("Abs", w("Sub", after, whole)), [3])
    sums = w.reduce("ReduceSum", whole, [3])
    low, high = (w("Mul", bound, _times(w, 1.0, length)) for bound in bounds)
    within = w.cast(w("And", w("Greater", sums, low), w("Less", sums, high)), _FLOAT)
    both = w("Mul", within, w.concat(2, w.slice(within, 2, 1, END), w.slice(within, 2, 0, 1)))
    return steps, w("Mul", steps, both)


def _best_line(w: Writer, steps: str, quiet: str, lines: Extent, length: Extent) -> tuple[str, str]:
    """The best lines (B, A), int64, by steps (B, A, lines), and how far they are ahead."""
    ring = w.wrapped(quiet, 2, 1, 1)
    beside = w("Add", w.slice(ring, 2, 0, -2), w.slice(ring, 2, 2, END))
    scores = w("Div", steps, w("Add", beside, _times(w, contrast.FLOOR, length)))
    values, places = w.several("TopK", (scores, w.constant([2])), 2, axis=2)
    gap = w("Sub", w.slice(values, 2, 0, 1), w.slice(values, 2, 1, 2))
    best = w("Mod", w("Add", w.slice(places, 2, 0, 1), w.constant(1)), w.extent(lines))
    return w.reshape(best, [0, -1]), w.reshape(gap, [0, -1])


def _times(w: Writer, factor: float, length: Extent) -> str:
    """`factor * length`, float32."""
    if isinstance(length, int):
        return w.constant(factor * length, np.float32)
    return w("Mul", w.cast(length, _FLOAT), w.constant(factor, np.float32))


def _is_best(w: Writer, values: str) -> str:
    return w("Equal", values, w.reduce("ReduceMax", values, [1], True))


# All lines


def _seam_evidence(w: Writer, image: Image) -> tuple[str, str]:
    x = _as_float(w, image.raw, image)
    whole = w.round(w("Mul", x, _scale_to_levels(w, x)))
    whole = _brightness_and_colour(w, whole, image.channels)
    torus = w.wrapped(w.wrapped(whole, 2, 2, 1), 3, 2, 1)
    down, right = w.difference(torus, 2), w.difference(torus, 3)
    turn = w.difference(down, 3)
    changes = _root(w, _magnitude(w, turn))
    rows = _evidence(w, down, turn, changes, right, (2, 3))
    return rows, _evidence(w, right, turn, changes, down, (3, 2))


def _evidence(
    w: Writer, step: str, turn: str, changes: str, gradient: str, axes: tuple[int, int]
) -> str:
    """The evidence for each line (B, lines), int64; see `seam_evidence._evidence`."""
    across, along = axes
    step, turn = w.slice(step, along, 1, -2), w.slice(turn, along, 1, -1)
    bends = _sums(w, _root(w, _magnitude(w, w.difference(step, across))), along)
    turns = _sums(w, _root(w, _magnitude(w, w.difference(turn, across))), along)
    beside = _sums(w, w.slice(changes, along - 1, 1, -1), along)
    steep = _magnitude(w, w.slice(gradient, along, 1, -1))
    near = w("Add", w.slice(steep, across - 1, 1, -2), w.slice(steep, across - 1, 2, -1))
    for_it = w(
        "Add",
        _weighed(w, "bend", w("Add", w.slice(bends, 1, 0, -1), w.slice(bends, 1, 1, END))),
        _weighed(w, "turn", w("Add", w.slice(turns, 1, 0, -1), w.slice(turns, 1, 1, END))),
    )
    against = w(
        "Add",
        _weighed(w, "beside", w("Add", w.slice(beside, 1, 0, -2), w.slice(beside, 1, 2, END))),
        _weighed(w, "gradient", _sums(w, _root(w, near), along)),
    )
    return w("Sub", for_it, against)


def _weighed(w: Writer, part: str, sums: str) -> str:
    return w("Mul", sums, w.constant(evidence.WEIGHTS[part]))


def _sums(w: Writer, roots: str, along: int) -> str:
    return w.cast(w.reduce("ReduceSum", roots, [along - 1]), _INT64)


def _best_lines(w: Writer, rows: str, columns: str, image: Image) -> tuple[str, str]:
    """The best row and column (B, 2), and a gap (B, 2) that is zero where it is not one."""
    points, gaps = [], []
    for values, side in zip((rows, columns), image.sides, strict=True):
        best = w.cast(_is_best(w, values), _INT64)
        points.append(w.reduce("ReduceSum", w("Mul", best, w.indices(side)), [1], True))
        count = w.reduce("ReduceSum", best, [1], True)
        gaps.append(w.cast(w("Equal", count, w.constant([1])), _FLOAT))
    return w.concat(1, *points), w.concat(1, *gaps)


def _best_point(w: Writer, rows: str, columns: str, views_: str, image: Image) -> str:
    """The greatest view (B, H, W) from where the best rows and columns cross: (B, 2)."""
    height, width = (w.extent(side) for side in image.sides)
    flat = w.constant([0, -1])
    down = w("Reshape", _is_best(w, rows), w.concat(0, w.constant([0]), height, w.constant([1])))
    right = w("Reshape", _is_best(w, columns), w.concat(0, w.constant([0, 1]), width))
    allowed = w("Where", w("And", down, right), views_, w.constant(-(2**63 - 1)))
    best = w.cast(_is_best(w, w("Reshape", allowed, flat)), TensorProto.INT32)
    at = w("ArgMax", best, axis=1, keepdims=1)
    return w.concat(1, w("Div", at, width), w("Mod", at, width))


# Every bit of the image as seen from each pixel


def _exact_views(w: Writer, image: Image) -> str:
    """(B, H, W), int64."""
    h = _view(w, _pixels(w, image), 2, image.width)
    return _view(w, _mix(w, h), 1, image.height)


def _pixels(w: Writer, image: Image) -> str:
    words = _words(w, image.raw)
    h = w("Gather", words, w.constant(0), axis=1)
    for channel in range(1, image.channels):
        spread = w("Mul", _mix(w, h), w.constant(views.CHANNEL))
        h = w("Add", spread, w("Gather", words, w.constant(channel), axis=1))
    return _mix(w, h)


def _words(w: Writer, raw: str) -> str:
    rest, words = w.cast(raw, _DOUBLE), ""
    for exponent, word in zip(views.EXPONENTS, views.WORD, strict=True):
        scaled = w("Mul", rest, w.constant(2.0**exponent, np.float64))
        piece = w.cast(scaled, _INT64)
        part = w("Mul", piece, w.constant(word))
        words = w("Add", words, part) if words else part
        taken = w("Mul", w.cast(piece, _DOUBLE), w.constant(2.0**-exponent, np.float64))
        rest = w("Sub", rest, taken)
    return words


def _mix(w: Writer, h: str) -> str:
    twice = w("Add", w("Mul", h, w.constant(2)), w.constant(1))
    h = w("Mul", w("Mul", h, twice), w.constant(views.SPREAD))
    folded = w("Mul", w.cast(h, _DOUBLE), w.constant(views.FOLD, np.float64))
    return w("Add", h, w.cast(folded, _INT64))


def _view(w: Writer, h: str, dim: int, side: Extent) -> str:
    """A Loop over the doublings; only the axis's length says how many."""
    length, indices = w.extent(side), w.indices(side)
    weights = w.constant(views.VIEW)
    powers = w.constant([2**k for k in range(31)])
    doublings = w.reduce("ReduceSum", w.cast(w("Less", powers, length), _INT64), [0])
    inner = w.branch()
    turn, going, before, shift = (inner.name(part) for part in ("turn", "going", "h", "shift"))
    place = inner("Mod", inner("Add", indices, shift), length)
    weight = inner("Gather", weights, inner("Mod", turn, w.constant(len(views.VIEW))))
    far = inner("Mul", inner("Gather", before, place, axis=dim), weight)
    results = [
        inner("Identity", going),
        inner("Add", before, far),
        inner("Add", shift, shift),
    ]
    inputs = [
        helper.make_tensor_value_info(turn, _INT64, ()),
        helper.make_tensor_value_info(going, TensorProto.BOOL, ()),
        helper.make_tensor_value_info(before, _INT64, None),
        helper.make_tensor_value_info(shift, _INT64, None),
    ]
    body = inner.graph(results, inputs, elements=[TensorProto.BOOL, _INT64, _INT64])
    start = (doublings, w.constant(True, np.bool_), h, w.constant([1]))
    return w.several("Loop", start, 2, body=body)[0]
