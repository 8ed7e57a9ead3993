"""Where the elements of a tensor lie on the input: the grid (S, O) of every feature map.

Element i of an axis lies at input position O + S*i. The cumulative stride S is known from the
graph and is kept here; the offset O is chosen per sample at run time, once for each S and axis,
so two tensors with the same S always lie on the same grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class Axis:
    """One image axis of a tensor: dimension `dim` (negative), cumulative `stride`, input `length`.

    The map is a circle of length/stride. `lead` counts elements that a padding put before the
    circle's start (or, negative, that a crop took): array index i is circle index i - lead.
    A `shared` dimension holds something else too, such as the batch or channels; steps of the axis
    then lie `inner` elements of it apart.
    """

    dim: int
    stride: Fraction
    length: int
    lead: int = 0
    shared: bool = False
    inner: int = 1

    @property
    def fits(self) -> bool:
        """Whether the circle has a whole number of elements."""
        return (self.length / self.stride).denominator == 1

    @property
    def size(self) -> int:
        """Elements on the circle."""
        return int(self.length / self.stride)

    def scaled(self, factor: Fraction | int) -> Axis:
        """The axis after sampling by `factor` (below 1: after upsampling)."""
        return replace(self, stride=self.stride * factor, lead=0)

    def at(self, dim: int) -> Axis:
        """The axis moved to dimension `dim`."""
        return replace(self, dim=dim)


@dataclass(frozen=True)
class Grid:
    """The image axes of a tensor; an axis is None where the tensor does not vary along it.

    Both may lie in one dimension, as tokens do: the positions row by row, without a lead.
    """

    h: Axis | None = None
    w: Axis | None = None

    @property
    def axes(self) -> tuple[Axis | None, Axis | None]:
        """Both axes, rows first."""
        return (self.h, self.w)

    @property
    def present(self) -> tuple[Axis, ...]:
        """The axes that are there."""
        return tuple(axis for axis in self.axes if axis is not None)

    @property
    def dims(self) -> tuple[int, ...]:
        """Their dimensions, negative."""
        return tuple(axis.dim for axis in self.present)

    @property
    def in_line(self) -> bool:
        """Whether one dimension holds both axes and nothing else."""
        same = self.h is not None and self.w is not None and self.h.dim == self.w.dim
        return same and not self.shared

    @property
    def shared(self) -> frozenset[int]:
        """The dimensions that hold positions and something else."""
        return frozenset(axis.dim for axis in self.present if axis.shared)

    @property
    def extents(self) -> dict[int, int]:
        """Elements of each dimension that holds positions alone, of whole circles."""
        found: dict[int, int] = {}
        for axis in self.present:
            if axis.shared:
                continue
            found[axis.dim] = found.get(axis.dim, 1) * axis.size
        return found

    def circled(self, shape: Sequence[int]) -> list[int]:
        """`shape` with the image axes as long as their circles."""
        found = list(shape)
        for dim, size in self.extents.items():
            found[dim] = size
        return found

    @property
    def strides(self) -> tuple[Fraction, Fraction]:
        """Cumulative strides; 1 where an axis is absent."""
        h, w = self.axes
        return (h.stride if h else Fraction(1), w.stride if w else Fraction(1))

    @property
    def leads(self) -> tuple[int, int]:
        """Leads, 0 where an axis is absent."""
        h, w = self.axes
        return (h.lead if h else 0, w.lead if w else 0)

    @property
    def is_map(self) -> bool:
        """Whether this is a feature map laid out as (..., H, W)."""
        both = self.h is not None and self.w is not None
        return both and self.dims == (-2, -1) and not self.shared

    @property
    def sizes(self) -> tuple[int, int]:
        """Circle sizes; 1 where an axis is absent."""
        h, w = self.axes
        return (h.size if h else 1, w.size if w else 1)

    def moved(self, where: dict[int, int]) -> Grid:
        """The grid after dimensions move as `where` says (negative to negative)."""
        return Grid(*(axis and axis.at(where[axis.dim]) for axis in self.axes))

    def settled(self) -> Grid:
        """The grid with no lead."""
        return Grid(*(axis and replace(axis, lead=0) for axis in self.axes))


FLAT = Grid()


@dataclass(frozen=True)
class Pairs:
    """A value per pair of positions, as the scores of attention: `rows` at -2, `columns` at -1."""

    rows: Grid
    columns: Grid


@dataclass(frozen=True)
class Unpooling:
    """The indices output of a max-pool: what an unpooling needs to know of the way down."""

    fine: Grid
    coarse: Grid
    starts: tuple[int, int]
    lengths: tuple[int, int]
    overlaps: bool
