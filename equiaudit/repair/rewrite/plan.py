"""What an analysis says: a plan per operation, refusals, the grid of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch.fx as fx

from equiaudit.repair.rewrite.grid import Grid, Pairs, Unpooling

CANONICAL = "use --method canonical, which leaves the model as it is"

# What the analysis knows of a value: a grid, pairs of positions, indices, several of them, or
# nothing (a number).
State: TypeAlias = "Grid | Pairs | Unpooling | tuple[Any, ...] | None"


@dataclass(frozen=True)
class OpPlan:
    """One operation that samples, pads, pools or flattens.

    `stride`, `padding` (top, bottom, left, right) and `dilation` are as in the original graph;
    `uneven` says that its window does not tile the padded map, or is padded on one side more.
    """

    node: str
    module: str
    op: str
    effect: str
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    uneven: bool = False
    refusal: str | None = None

    @property
    def fixable(self) -> bool:
        """Whether the rewriter can make it equivariant."""
        return self.refusal is None


@dataclass(frozen=True)
class Refusal:
    """An operation that cannot be converted: where, why, and what would work."""

    node: str
    module: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.module} ({self.node})" if self.module else self.node
        return f"{where}: {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class SizeRule:
    """Which input sizes fit: height and width must be multiples of `multiple`."""

    multiple: tuple[int, int]

    def fits(self, height: int, width: int) -> bool:
        """Whether an input of this size has whole grids at every level."""
        return height % self.multiple[0] == 0 and width % self.multiple[1] == 0

    def near(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The largest fitting size below and the smallest above (below is at least one tile)."""
        pairs = tuple(zip((height, width), self.multiple, strict=True))
        below = tuple(max(m, n // m * m) for n, m in pairs)
        above = tuple(-(-n // m) * m for n, m in pairs)
        return (below[0], below[1]), (above[0], above[1])

    def __str__(self) -> str:
        h, w = self.multiple
        return f"multiples of {h}" if h == w else f"heights in {h}s and widths in {w}s"


class Refuse(Exception):
    """Raised by a rule inside the analysis; `analyse` turns it into a `Refusal`."""

    def __init__(self, reason: str, remedy: str = CANONICAL) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Step:
    """What becomes of one node: the state of its value and how to write it in the new graph."""

    out: State
    emit: Callable[[Any, fx.Node], Any]
    op: OpPlan | None = None
    collapse: bool = False
    tail: bool = False
    """It is run as it is, in the frame of the image (see `tail`)."""


@dataclass(frozen=True)
class Analysis:
    """The plan for a whole graph.

    `grids` maps node names to the grid of their value, `total_stride` is (rows, columns),
    `outputs` has the grid of every output (None for what is not a map), `dense` says that some
    output is a map, `collapses` names the operations that flatten a map larger than one element.
    """

    ops: tuple[OpPlan, ...]
    grids: Mapping[str, Grid]
    total_stride: tuple[int, int]
    input_size: tuple[int, int]
    refusals: tuple[Refusal, ...]
    outputs: tuple[Grid | None, ...]
    collapses: tuple[str, ...]
    steps: Mapping[str, Step] = field(repr=False, compare=False)

    @property
    def dense(self) -> bool:
        """Whether some output is a map over the image."""
        return any(grid is not None and grid.present for grid in self.outputs)

    @property
    def sizes_that_fit(self) -> SizeRule:
        """The rule for input sizes."""
        return SizeRule(self.total_stride)
