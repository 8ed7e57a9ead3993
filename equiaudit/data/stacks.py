"""Images of 4 to 32 channels, for models that see as many: TIFF by tifffile, and NumPy arrays.

Which axis holds the channels is told by the number that the model takes, first or last. 8 bits
without a sign are 0 to 255; what is black and white of all else is said (`Geometry.value_range`),
as sensors fill 16 bits in ways of their own.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equiaudit.data.arrays import (
    NO_SCALE,
    Range,
    check_pixels,
    in_range,
    is_numpy,
    is_tiff,
    numpy_shape,
    numpy_values,
    open_tiff,
)


def stack_planes(
    content: bytes, channels: int, stated: Range | None, max_pixels: int
) -> list[Image.Image]:
    """`channels` planes, "L" of 8 bits or "F" in 0..65535 of `stated`.

    ValueError where the file is of another kind or number of channels, or `stated` is needed.
    """
    if is_numpy(content):
        shape = numpy_shape(content)
        axis = _channel_axis(shape, "", channels)
        check_pixels(_sides(shape, axis), max_pixels)
        values = numpy_values(content)
    else:
        _require_tiff(content, channels)
        with open_tiff(io.BytesIO(content)) as file:
            series = file.series[0]
            axis = _channel_axis(series.shape, series.axes, channels)
            check_pixels(_sides(series.shape, axis), max_pixels)
            values = series.asarray()
    return _planes(np.moveaxis(values, axis, 0), stated)


def stack_size(content: bytes, channels: int) -> tuple[int, int]:
    """(width, height) by the header."""
    if is_numpy(content):
        shape = numpy_shape(content)
        return _sides(shape, _channel_axis(shape, "", channels))
    _require_tiff(content, channels)
    with open_tiff(io.BytesIO(content)) as file:
        series = file.series[0]
        return _sides(series.shape, _channel_axis(series.shape, series.axes, channels))


def _require_tiff(content: bytes, channels: int) -> None:
    if not is_tiff(content):
        raise ValueError(f"the model takes {channels} channels, which TIFF and .npy files hold")


def _channel_axis(shape: Sequence[int], axes: str, channels: int) -> int:
    """0 or 2; `axes` are a TIFF's: S of samples, C of channels, others pages or unnamed."""
    shown = ", ".join(map(str, shape))
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"shape ({shown}) is no image of {channels} channels, which have 3 axes")
    named = [i for i in (0, 2) if axes[i : i + 1] in ("S", "C")]
    fitting = [i for i in (0, 2) if shape[i] == channels and (not named or i in named)]
    if len(fitting) == 2:
        raise ValueError(f"which axis of ({shown}) holds the {channels} channels cannot be told")
    if not fitting:
        raise ValueError(f"shape ({shown}) has not the {channels} channels of the model")
    return fitting[0]


def _sides(shape: Sequence[int], axis: int) -> tuple[int, int]:
    """(width, height)"""
    height, width = (side for i, side in enumerate(shape) if i != axis)
    return width, height


def _planes(values: NDArray[np.generic], stated: Range | None) -> list[Image.Image]:
    if values.dtype == np.uint8 and stated is None:
        return [Image.fromarray(np.ascontiguousarray(plane)) for plane in values]
    if stated is None:
        raise ValueError(f"{values.dtype} values of {len(values)} channels {NO_SCALE}")
    return [in_range(plane, stated) for plane in values]
