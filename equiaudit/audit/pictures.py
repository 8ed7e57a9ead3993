"""Pictures for reports: what the model saw, as small `data:` URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from equiaudit.data import Decoded
from equiaudit.kinds import Offset
from equiaudit.shifts import Series, ShiftPlan
from equiaudit.shifts.canvas import canvas

Bytes = NDArray[np.uint8]


def views(
    image: Decoded, plan: ShiftPlan, series: Series, offsets: Sequence[Offset]
) -> list[Bytes]:
    """(H, W, 3 or 1) pixels of the window at each of `offsets`; `image` has the margin needed.

    Of more than 3 channels the first 3 are shown.
    """
    number = np.float64 if series.moves.fractional else np.int32
    source = torch.from_numpy(image.pixels.astype(number)).permute(2, 0, 1)[:3]
    black = torch.zeros(len(source), dtype=source.dtype)
    reach = series.reach
    made = canvas(source, series.kind, plan.window, reach, black)
    top = 65535 if image.pixels.dtype == np.uint16 else 255
    return [_bytes(series.moves.cut(made, plan.window, reach, at), top) for at in offsets]


def _bytes(view: Tensor, top: int) -> Bytes:
    pixels = view.permute(1, 2, 0).numpy() * (255 / top)
    return pixels.round().clip(0, 255).astype(np.uint8)  # resampled pixels overshoot


def reduced(pictures: Sequence[Bytes], change: NDArray[np.uint8], longest: int) -> list[Bytes]:
    """Pictures (H, W, C) of one scene with sides of `longest` px at most, by the same pixels.

    Of every block the pixel is kept that changes most by `change` (H, W), else the middle one: a
    change of few pixels is seen, and in every picture at the same place. No colours are mixed.
    """
    height, width = change.shape
    step = -(-max(height, width) // longest)
    if step == 1:
        return list(pictures)
    rows, columns = -(-height // step), -(-width // step)

    def blocks(picture: Bytes) -> Bytes:
        """(H, W, C) -> (rows, columns, step^2, C); edges are repeated to fill the last blocks."""
        short = ((0, rows * step - height), (0, columns * step - width), (0, 0))
        whole = np.pad(picture, short, mode="edge")
        cut_up = whole.reshape(rows, step, columns, step, -1).swapaxes(1, 2)
        return cut_up.reshape(rows, columns, step * step, -1)

    degrees = blocks(change[..., None])[..., 0]
    middle = (step // 2) * step + step // 2
    chosen = np.where(degrees.any(axis=2), degrees.argmax(axis=2), middle)
    return [
        np.take_along_axis(blocks(each), chosen[..., None, None], axis=2)[:, :, 0]
        for each in pictures
    ]


def data_uri(pixels: Bytes, longest: int, *, smooth: bool = True) -> str:
    """A PNG of (H, W) or (H, W, 1 or 3) pixels, made smaller where a side exceeds `longest` px.

    Without `smooth` no colours are mixed, as for classes.
    """
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    image.thumbnail((longest, longest), how)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
