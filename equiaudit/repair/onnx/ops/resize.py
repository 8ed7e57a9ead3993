"""Resizing of the image axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.ops.registry import op
from equiaudit.repair.onnx.values import BATCH, Untranslated, Value, is_batch

aten = torch.ops.aten

_T = TypeVar("_T", int, float)

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
_ROUNDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
}


@dataclass(frozen=True)
class _Target:
    """Output sizes, and the scales that coordinates are computed with."""

    sizes: tuple[int, int]
    scales: tuple[float, float]

    def whole(self, extents: tuple[int, ...]) -> bool:
        """Whether each axis is enlarged by a whole ratio."""
        return all(n % e == 0 for n, e in zip(self.sizes, extents, strict=True))

    def exact(self, extents: tuple[int, ...]) -> bool:
        """Whether the scales are the ratios of the sizes."""
        return all(
            math.isclose(s * e, n, rel_tol=1e-6)
            for s, n, e in zip(self.scales, self.sizes, extents, strict=True)
        )


@op("Upsample")
def upsample(call: Call) -> Value:
    """Removed in opset 10; reads coordinates asymmetrically."""
    x = call.image()
    scales = call.attr("scales") if call.opset < 9 else call.numbers(call.input(1), "scales")
    target = _scaled(x, scales or [])
    return _resized(call, x, call.attr("mode", "nearest"), "asymmetric", "floor", target)


@op("Resize")
def resize(call: Call) -> Value:
    """To sizes, or by scales."""
    x = call.image()
    if call.opset < 11:
        target = _scaled(x, call.numbers(call.input(1), "scales") or [])
        return _resized(call, x, call.attr("mode", "nearest"), "asymmetric", "floor", target)
    call.ignore("extrapolation_value")
    call.require("antialias", 0)
    call.require("exclude_outside", 0)
    call.require("keep_aspect_ratio_policy", "stretch")
    mode = call.attr("mode", "nearest")
    coordinates = call.attr("coordinate_transformation_mode", "half_pixel")
    rounding = call.attr("nearest_mode", "round_prefer_floor")
    if mode == "cubic" and not math.isclose(call.attr("cubic_coeff_a", -0.75), -0.75):
        raise Untranslated("its cubic coefficient is not -0.75")
    call.ignore("cubic_coeff_a")
    return _resized(call, x, mode, coordinates, rounding, _target(call, x))


def _target(call: Call, x: Value) -> _Target:
    axes = call.attr("axes")
    sizes = call.ints(call.optional(3), "sizes")
    if sizes:
        full = _full(x, sizes, axes, list(x.shape))
        batch_kept = full[0] == x.shape[0] or (is_batch(x.shape[0]) and full[0] == call.fixed_batch)
        if len(full) != 4 or not batch_kept or full[1] != x.shape[1]:
            raise Untranslated("it resizes other axes than those of the image")
        h, w = full[2:]
        return _Target((h, w), (h / x.shape[2], w / x.shape[3]))
    scales = call.numbers(call.optional(2), "scales") or []
    named = axes if axes is not None and scales else None
    return _scaled(x, _full(x, scales, named, [1.0] * x.ndim))


def _full(x: Value, given: list[_T], axes: list[int] | None, default: list[_T]) -> list[_T]:
    """One entry per axis."""
    if axes is None:
        return given
    full = list(default)
    for axis, value in zip(axes, given, strict=True):
        full[axis % x.ndim] = value
    return full


def _scaled(x: Value, scales: list[float]) -> _Target:
    if len(scales) != 4 or scales[:2] != [1.0, 1.0]:
        raise Untranslated("it resizes other axes than those of the image")
    sizes = [math.floor(n * s) for n, s in zip(x.shape[2:], scales[2:], strict=True)]
    return _Target((sizes[0], sizes[1]), (scales[2], scales[3]))


def _resized(
    call: Call, x: Value, mode: str, coordinates: str, rounding: str, target: _Target
) -> Value:
    if mode not in _MODES:
        raise Untranslated(f"its mode is {mode!r}")
    if coordinates == "pytorch_half_pixel" and 1 not in target.sizes:
        coordinates = "half_pixel"
    if max(target.sizes) > BATCH // 2:
        raise Untranslated("its result is absurdly large")
    extents = x.shape[2:]
    if tuple(extents) == target.sizes:
        return x
    if _MODES[mode] == "nearest":
        return _nearest(call, x, coordinates, rounding, target)
    corners = coordinates == "align_corners"
    if corners or coordinates == "half_pixel":
        return _interpolated(call, x, _MODES[mode], corners, target)
    if _MODES[mode] == "linear" and coordinates == "asymmetric":
        return _by_matrices(call, x, target)
    raise Untranslated(f"it reads {mode} values at {coordinates} coordinates")


def _interpolated(call: Call, x: Value, kind: str, corners: bool, target: _Target) -> Value:
    packet = aten.upsample_bilinear2d if kind == "linear" else aten.upsample_bicubic2d
    exact = corners or target.exact(x.shape[2:])
    sizes = list(target.sizes) if exact else None
    scales = None if exact else list(target.scales)
    return call.emit(packet.vec, x, sizes, corners, scales)


def _nearest(call: Call, x: Value, coordinates: str, rounding: str, target: _Target) -> Value:
    """By the places that onnxruntime reads: torch's own, evenly spaced, or any by index."""
    places = [
        _places(n, m, s, coordinates, rounding)
        for n, m, s in zip(x.shape[2:], target.sizes, target.scales, strict=True)
    ]
    own = [torch.arange(m) * n // m for n, m in zip(x.shape[2:], target.sizes, strict=True)]
    steps = [_even_step(index) for index in places]
    if all(steps) and max(map(int, steps)) > 1:
        for axis, index, step in zip((2, 3), places, steps, strict=True):
            first, last = int(index[0]), int(index[-1])
            x = call.emit(aten.slice.Tensor, x, axis, first, last + 1, step)
        return x
    if all(torch.equal(a, b) for a, b in zip(places, own, strict=True)):
        return call.emit(aten.upsample_nearest2d.vec, x, list(target.sizes), None)
    for axis, index in zip((2, 3), places, strict=True):
        x = call.emit(aten.index_select.default, x, axis, call.constant(index, "places"))
    return x


def _even_step(places: torch.Tensor) -> int:
    """The step between places that are evenly spaced, else 0."""
    steps = places.diff()
    even = bool(len(steps)) and bool((steps == steps[0]).all())
    return int(steps[0]) if even else 0


def _places(n: int, m: int, scale: float, coordinates: str, rounding: str) -> torch.Tensor:
    """The input index that each of m outputs reads, rounded where onnxruntime rounds.

    It divides float32 by float32: 7 / (8 / 56) is less than 49.
    """
    index = torch.arange(m, dtype=torch.float32)
    by = torch.tensor(scale, dtype=torch.float32)
    known = {
        "asymmetric": index / by,
        "half_pixel": (index + 0.5) / by - 0.5,
        "align_corners": index * (n - 1) / max(m - 1, 1),
    }
    if coordinates not in known or rounding not in _ROUNDINGS:
        raise Untranslated(f"it reads nearest values at {coordinates} coordinates by {rounding}")
    return _ROUNDINGS[rounding](known[coordinates]).clamp(0, n - 1).long()


def _by_matrices(call: Call, x: Value, target: _Target) -> Value:
    """Asymmetric linear values, which torch does not have: a matrix for each axis."""
    rows, columns = (
        _linear_matrix(n, m, s)
        for n, m, s in zip(x.shape[2:], target.sizes, target.scales, strict=True)
    )
    x = call.emit(aten.linear.default, x, call.constant(columns, "columns"))
    return call.emit(aten.matmul.default, call.constant(rows, "rows"), x)


def _linear_matrix(n: int, m: int, scale: float) -> torch.Tensor:
    at = (torch.arange(m, dtype=torch.float64) / scale).clamp(max=n - 1)
    low = at.floor().long()
    share = at - low
    matrix = torch.zeros(m, n, dtype=torch.float64)
    matrix.scatter_add_(1, low[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, (low + 1).clamp(max=n - 1)[:, None], share[:, None])
    return matrix.float()
