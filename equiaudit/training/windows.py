"""The windows a net is trained on: cut from photos, and moved as a scan moves them.

All work on pixels as decoded, in numpy, so black is black before normalisation and the same seed
gives the same windows on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from equiaudit.data import IGNORED

Pixels = NDArray[np.generic]
Index = NDArray[np.int64]
Generator = np.random.Generator
T = TypeVar("T", bound=np.generic)

_NOWHERE = -1
"""The index of a row or column that black enters at."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A batch of windows before and after they were moved.

    `still` and `moved` are (n, H, W, C) pixels; in `moved` black or the other side has entered.
    `rows` (n, H) and `columns` (n, W) say where `moved` was read in `still`, -1 where black
    entered. `masks` is (n, H, W) int64, as `moved` is, `IGNORED` on black; None without masks.
    """

    still: Pixels
    moved: Pixels
    rows: Index
    columns: Index
    masks: Index | None

    @property
    def asked(self) -> NDArray[np.bool_]:
        """(n, H, W), False where black entered: there nothing is asked."""
        asked: NDArray[np.bool_] = (self.rows >= 0)[:, :, None] & (self.columns >= 0)[:, None]
        return asked


@dataclass(frozen=True, eq=False)
class Cut:
    """Which rows (H,) and columns (W,) of a photo a window shows, and what moves it then.

    `down` (H,) and `across` (W,) are where the moved window reads the still one, -1 for black.
    """

    rows: Index
    columns: Index
    down: Index
    across: Index


@dataclass(frozen=True)
class Moves:
    """How windows are drawn.

    A window lies up to `crop` px from the middle of its photo along both axes, or anywhere in it
    where `anywhere` is set and that is farther; beyond the photo, its mirror image is seen. Of
    photos with a mask, the share `objects` of the windows is laid on one of the pixels whose
    class is not 0. Half of the windows are mirrored where `flip` is set.

    A share `zero_pad` of the windows is then moved by up to `crop` px along both axes, black
    entering; a share `roll` by any distance on the torus. An exact net does not notice the torus,
    so `roll` is for nets that are not exact.
    """

    crop: int
    anywhere: bool = False
    objects: float = 0.0
    flip: bool = True
    zero_pad: float = 0.0
    roll: float = 0.0

    def draw(
        self, size: tuple[int, int], window: tuple[int, int], mask: Pixels | None, rng: Generator
    ) -> Cut:
        """Where a window (H, W) of a photo of `size` (h, w) is read."""
        kind, on_object, mirrored = rng.random(3)
        moves = [self._move(s, w, rng) for s, w in zip(size, window, strict=True)]
        if mask is not None and on_object < self.objects:
            moves = self._onto_object(mask, window, rng) or moves
        rows, columns = (
            _mirrored(np.arange(w) + (s - w) // 2 - move, s)
            for s, w, move in zip(size, window, moves, strict=True)
        )
        if self.flip and mirrored < 0.5:
            columns = columns[::-1]
        return Cut(rows, columns, *(self._shifted(w, kind, rng) for w in window))

    def _move(self, size: int, window: int, rng: Generator) -> int:
        room = (size - window) // 2 if self.anywhere else 0
        far = max(self.crop, room)
        return int(rng.integers(-far, far + 1))

    def _onto_object(
        self, mask: Pixels, window: tuple[int, int], rng: Generator
    ) -> list[int] | None:
        """Moves that lay a pixel of an object anywhere in the window, inside the photo."""
        places = np.flatnonzero(np.greater(mask, 0))
        if not len(places):
            return None
        place = np.unravel_index(places[rng.integers(len(places))], mask.shape)
        moves = []
        for at, size, side in zip(place, mask.shape, window, strict=True):
            far = max(self.crop, (size - side) // 2) if self.anywhere else self.crop
            start = int(at) - int(rng.integers(side))
            moves.append(int(np.clip((size - side) // 2 - start, -far, far)))
        return moves

    def _shifted(self, side: int, kind: float, rng: Generator) -> Index:
        near, far = rng.integers(-self.crop, self.crop + 1), rng.integers(side)
        at = np.arange(side)
        if kind < self.zero_pad:
            return np.where((at >= near) & (at < side + near), at - near, _NOWHERE)
        return (at - far) % side if kind < self.zero_pad + self.roll else at


def cut(
    photos: Sequence[Pixels],
    masks: Sequence[Pixels] | None,
    window: tuple[int, int],
    moves: Moves,
    rng: Generator,
) -> Windows:
    """One window of each of `photos`, (h, w, C), with its mask (h, w) where there are any."""
    known = [None] * len(photos) if masks is None else list(masks)
    cuts = [
        moves.draw((photo.shape[0], photo.shape[1]), window, mask, rng)
        for photo, mask in zip(photos, known, strict=True)
    ]
    still = np.stack(
        [_read(photo, c.rows, c.columns) for photo, c in zip(photos, cuts, strict=True)]
    )
    rows, columns = (np.stack([getattr(c, name) for c in cuts]) for name in ("down", "across"))
    seen = None
    if masks is not None:
        whole = [_read(mask, c.rows, c.columns) for mask, c in zip(masks, cuts, strict=True)]
        seen = moved(np.stack(whole).astype(np.int64), rows, columns, IGNORED)
    return Windows(still, moved(still, rows, columns, 0), rows, columns, seen)


def moved(values: NDArray[T], rows: Index, columns: Index, entering: int) -> NDArray[T]:
    """`values` (n, H, W, ...) read at `rows` (n, H) and `columns` (n, W); `entering` at -1."""
    found = values[np.arange(len(values))[:, None, None], rows[:, :, None], columns[:, None]]
    found[(rows < 0)[:, :, None] | (columns < 0)[:, None]] = entering
    return found


def _read(values: Pixels, rows: Index, columns: Index) -> Pixels:
    found: Pixels = values[rows[:, None], columns]
    return found


def _mirrored(at: Index, size: int) -> Index:
    """Indices of a photo beside its mirror images, without repeating the edge."""
    period = max(2 * (size - 1), 1)
    index: Index = np.abs((at + size - 1) % period - (size - 1))
    return index
