"""Windows on the canvas of a shift kind."""

from __future__ import annotations

from torch import Tensor

from equiaudit.kinds import KINDS


def canvas(source: Tensor, kind: str, window: tuple[int, int], reach: int, black: Tensor) -> Tensor:
    """(C, h, w) source -> (C, H + 2 reach, W + 2 reach) canvas with the window in its middle.

    `source` holds the H x W window in its middle, with real pixels around it where they
    were loaded. `black` is (C,), a black pixel as the model receives it.
    """
    shape = (source.shape[0], window[0] + 2 * reach, window[1] + 2 * reach)
    made = source.new_empty(shape)
    KINDS[kind].draw(made, source, window, black)
    return made


def cut(canvas: Tensor, window: tuple[int, int], reach: int, offset: tuple[int, int]) -> Tensor:
    """View of the (C, H, W) window whose content moved by `offset` = (dy, dx)."""
    top, left = reach - offset[0], reach - offset[1]
    return canvas[:, top : top + window[0], left : left + window[1]]
