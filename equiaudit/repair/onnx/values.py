"""What is known of a tensor of the file while its graph is rebuilt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from equiaudit.graphs.nodes import SYMBOL

BATCH = SYMBOL
"""The batch size while tracing. A large prime: a size is a whole number of batches or of
something else, and arithmetic on shapes is arithmetic on plain integers."""


class Untranslated(Exception):
    """A sentence that says what about a node has no equivalent here."""


@dataclass(frozen=True)
class Value:
    """A tensor of the file.

    Constants are held in `data`. What depends on the image has a `node`, and its `data` is on
    the meta device, for a batch of `BATCH` images. A constant that was made from the shape of
    the image's tensors is `sized`; multiples of `BATCH` in it stand for the batch.
    """

    data: torch.Tensor
    node: fx.Node | None = None
    sized: bool = False
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes; the batch is `BATCH`."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """How many axes."""
        return self.data.dim()

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating point numbers."""
        return self.data.is_floating_point()

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every image."""
        return self.node is None


@dataclass(frozen=True)
class Extent:
    """A size among an operator's arguments, which may be a multiple of the batch."""

    size: int


def is_batch(size: int) -> bool:
    """Whether a size is a whole number of batches."""
    return size > 0 and size % BATCH == 0


def lowered(shape: Sequence[int], batch: int) -> tuple[int, ...]:
    """A shape at the batch size that is fixed in the file."""
    return tuple(s // BATCH * batch if is_batch(s) else s for s in shape)


def lifted(shape: Sequence[int], fixed: Sequence[int], batch: int) -> list[int]:
    """`fixed`, a new shape for `shape` at the file's own batch size, for any batch size.

    The batch axis is the one with as many elements before it as before; raises Untranslated
    where there is none.
    """
    place = next(i for i, size in enumerate(shape) if is_batch(size))
    before = math.prod(shape[:place])
    for i, size in enumerate(fixed):
        free = [*fixed[:i], size // batch * BATCH, *fixed[i + 1 :]]
        if size % batch == 0 and (math.prod(fixed[:i]), math.prod(free)) == (
            before,
            math.prod(shape),
        ):
            return free
    raise Untranslated(f"it joins the batch of {batch} with other axes")
