"""`canonical_origin` in ONNX nodes: the same decision on the same pixels, to the last tie.

Each function writes what the one of the same name in `equiaudit.sampling` computes; floats hold
whole numbers below 2^24, or quotients of them, and everything else is int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from equiaudit.repair.canonical_onnx_nodes import END, Extent, Writer
from equiaudit.sampling import exact_views as views
from equiaudit.sampling import seam_candidates as candidates
from equiaudit.sampling import seam_evidence as evidence

__all__ = ["Image", "position"]

_FLOAT, _DOUBLE, _INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
_LINES = 4
_WEIGHTS = [
    sign * evidence.WEIGHTS[part]
    for part, sign, times in (
        ("bend", 1, 2),
        ("turn", 1, 2),
        ("beside", -1, 2),
        ("gradient", -1, 1),
    )
    for _ in range(times)
]


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
    x = image.raw if image.element == _FLOAT else w.cast(image.raw, _FLOAT)
    scale = _scale_to_levels(w, x)
    size = image.size
    if size is not None and not candidates.preselects(size):
        lines = _seam_evidence(w, x, scale, image)
        point, clear = _best_lines(w, *lines, image)
        return _decided(w, image, point, clear, lambda inner: lines)
    point, clear = _best_candidate(w, x, scale, image)
    if size is None:
        clear = w("And", clear, _preselects(w, image))
    return _decided(w, image, point, clear, lambda inner: _seam_evidence(inner, x, scale, image))


def _preselects(w: Writer, image: Image) -> str:
    height, width = (w.extent(side) for side in image.sides)
    pixels = w("Mul", height, width)
    sides = w.concat(0, height, width)
    limits = [
        w("Greater", pixels, w.constant([candidates.LEAST_PIXELS - 1])),
        w(
            "Greater",
            w.reduce("ReduceMin", sides, [0], True),
            w.constant([candidates.LEAST_SIDE - 1]),
        ),
        w("Less", w.reduce("ReduceMax", sides, [0], True), w.constant([candidates.MOST_SIDE + 1])),
    ]
    return w("And", w("And", limits[0], limits[1]), limits[2])


def _decided(w: Writer, image: Image, point: str, clear: str, lines) -> str:  # type: ignore[no-untyped-def]
    """`point` (B, 2) where `clear` (B,); the rest, if any, by every bit of the image."""
    unclear = w.reduce("ReduceMax", w.cast(w("Not", clear), TensorProto.INT32), [0])

    def look(inner: Writer) -> str:
        best = _best_point(inner, *lines(inner), _exact_views(inner, image), image)
        return inner("Where", inner.reshape(clear, [-1, 1]), point, best)

    return w.choose(w.cast(unclear, TensorProto.BOOL), look, lambda inner: inner("Identity", point))


# What the evidence is made of


def _scale_to_levels(w: Writer, x: str) -> str:
    """(B, 1, 1, 1)."""
    most = w.reduce("ReduceMax", x, [1, 2, 3], True)
    least = w.reduce("ReduceMin", x, [1, 2, 3], True)
    top = w("Max", most, w("Neg", least), w.constant(evidence.TINY, np.float32))
    return w("Div", w.constant(evidence.LEVELS, np.float32), top)


def _brightness_and_colour(w: Writer, whole: str, channels: int, axis: int) -> str:
    brightness = w.reduce("ReduceSum", whole, [axis], True)
    if channels == 1:
        return brightness
    first, last = w.slice(whole, axis, 0, 1), w.slice(whole, axis, channels - 1, channels)
    colour = w("Mul", w("Sub", first, last), w.constant(evidence.COLOUR, np.float32))
    return w.concat(axis, brightness, colour)


def _root(w: Writer, magnitude: str) -> str:
    return w.round(w("Sqrt", magnitude))


def _magnitude(w: Writer, difference: str) -> str:
    return w.reduce("ReduceSum", w("Abs", difference), [1])


# The likeliest lines of a large image


def _best_candidate(w: Writer, x: str, scale: str, image: Image) -> tuple[str, str]:
    """(B, 2) int64 and (B,) bool."""
    middle = image.channels // 2
    whole = w.round(w("Mul", w.slice(x, 1, middle, middle + 1), scale))
    found = []
    for axis in (0, 1):
        lines, clear = _likely_lines(w, _steps(w, whole, axis), image.sides[1 - axis])
        found.append((lines, clear, _strips(w, x, lines, axis, image)))
    found = [(lines, clear, _line_evidence(w, s, scale, image)) for lines, clear, s in found]
    points, clears = [], []
    for lines, clear, values in found:
        best, single = _single_best(w, values)
        points.append(w.reduce("ReduceSum", w("Mul", lines, best), [1], True))
        clears += [clear, single]
    clear = w("And", w("And", clears[0], clears[1]), w("And", clears[2], clears[3]))
    return w.concat(1, *points), clear


def _steps(w: Writer, whole: str, axis: int) -> str:
    """Sums of differences before each line of (B, 1, H, W): (B, lines)."""
    dim, along = axis + 2, 3 - axis
    around = w("Sub", w.slice(whole, dim, 0, 1), w.slice(whole, dim, -1, END))
    sums = [
        w.reduce("ReduceSum", w("Abs", d), [1, along]) for d in (around, w.difference(whole, dim))
    ]
    return w.concat(1, *sums)


def _likely_lines(w: Writer, steps: str, length: Extent) -> tuple[str, str]:
    """The candidates (B, K) int64, and whether they are clear of the next (B,)."""
    ring = w.wrapped(steps, 1, 1, 1)
    beside = w("Add", w.slice(ring, 1, 0, -2), w.slice(ring, 1, 2, END))
    scores = w("Div", steps, w("Add", beside, _floor(w, length)))
    best = w.constant([candidates.CANDIDATES + 1])
    values, lines = w.several("TopK", (scores, best), 2, axis=1)
    last = w.slice(values, 1, candidates.CANDIDATES - 1, candidates.CANDIDATES)
    beyond = w.slice(values, 1, candidates.CANDIDATES, candidates.CANDIDATES + 1)
    clear = w.reshape(w("Greater", last, beyond), [-1])
    return w.slice(lines, 1, 0, candidates.CANDIDATES), clear


def _floor(w: Writer, length: Extent) -> str:
    if isinstance(length, int):
        return w.constant(candidates.FLOOR * length, np.float32)
    return w("Mul", w.cast(length, _FLOAT), w.constant(candidates.FLOOR, np.float32))


def _strips(w: Writer, x: str, lines: str, axis: int, image: Image) -> str:
    """Each of `lines` (B, K) with its neighbours: (C, 4, B K, length)."""
    offsets = w.constant(np.arange(_LINES).reshape(_LINES, 1, 1) - 2)
    index = w("Mod", w("Add", lines, offsets), w.extent(image.sides[axis]))
    if image.batch == 1:
        flat = w.reshape(index, [-1])
        strips = w("Gather", x, flat, axis=2 + axis)
        if axis == 1:
            strips = w("Transpose", strips, perm=[0, 1, 3, 2])
    else:
        strips = _strips_of_batch(w, x, index, axis, image)
    length = image.sides[1 - axis]
    if isinstance(length, int):
        return w.reshape(strips, [image.channels, _LINES, -1, length])
    shape = w.concat(0, w.constant([image.channels, _LINES, -1]), length)
    return w("Reshape", strips, shape)


def _strips_of_batch(w: Writer, x: str, index: str, axis: int, image: Image) -> str:
    """(C, 4, B, K, length), by places in the whole batch; `index` is (4, B, K)."""
    height, width = (w.extent(side) for side in image.sides)
    channels = image.channels
    sample = w("Mul", w.reshape(w.indices(image.batch), [1, 1, -1, 1]), w.constant(channels))
    plane = w("Add", sample, w.constant(np.arange(channels).reshape(-1, 1, 1, 1)))
    row = w("Mul", plane, height)
    if axis == 0:
        rows = w("Reshape", x, w.concat(0, w.constant([-1]), width))
        return w("Gather", rows, w("Add", row, index), axis=0)
    every = w("Add", w.reshape(row, [channels, 1, -1, 1, 1]), w.indices(image.height))
    place = w(
        "Add", w("Mul", every, width), w.reshape(index, [_LINES, -1, candidates.CANDIDATES, 1])
    )
    return w("Gather", w.reshape(x, [-1]), place, axis=0)


def _line_evidence(w: Writer, strips: str, scale: str, image: Image) -> str:
    """What `seam_evidence` says of the third of each four lines (C, 4, B K, L): (B, K), int64."""
    if image.batch != 1:
        ones = w.constant(np.ones((1, candidates.CANDIDATES)), np.float32)
        scale = w.reshape(w("Mul", w.reshape(scale, [-1, 1]), ones), [-1, 1])
    whole = w.round(w("Mul", strips, scale))
    value = _brightness_and_colour(w, whole, image.channels, 0)
    gradient = w("Sub", w.concat(3, w.slice(value, 3, 1, END), w.slice(value, 3, 0, 1)), value)
    change = w.difference(gradient, 1)
    changes = [
        w.difference(w.difference(value, 1), 1),
        w.difference(change, 1),
        w.slice(change, 1, 0, END, 2),
    ]
    parts = w.reduce("ReduceSum", w("Abs", w.concat(1, *changes)), [0], True)
    near = w.reduce("ReduceSum", w("Abs", w.slice(gradient, 1, 1, 3)), [0, 1], True)
    sums = w.reduce("ReduceSum", _root(w, w.concat(1, parts, near)), [3])
    weighed = w("Mul", w.cast(sums, _INT64), w.constant(np.array(_WEIGHTS).reshape(-1, 1)))
    return w.reshape(w.reduce("ReduceSum", weighed, [0, 1]), [-1, candidates.CANDIDATES])


def _single_best(w: Writer, values: str) -> tuple[str, str]:
    """Where (B, n) int64 is greatest, as 0 and 1, and whether that is one place (B,)."""
    best = w.cast(_is_best(w, values), _INT64)
    return best, w("Equal", w.reduce("ReduceSum", best, [1]), w.constant([1]))


def _is_best(w: Writer, values: str) -> str:
    return w("Equal", values, w.reduce("ReduceMax", values, [1], True))


# All lines


def _seam_evidence(w: Writer, x: str, scale: str, image: Image) -> tuple[str, str]:
    whole = _brightness_and_colour(w, w.round(w("Mul", x, scale)), image.channels, 1)
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
    """The best row and column (B, 2), and whether each is one (B,)."""
    points, clears = [], []
    for values, side in zip((rows, columns), image.sides, strict=True):
        best, single = _single_best(w, values)
        points.append(w.reduce("ReduceSum", w("Mul", best, w.indices(side)), [1], True))
        clears.append(single)
    return w.concat(1, *points), w("And", *clears)


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
