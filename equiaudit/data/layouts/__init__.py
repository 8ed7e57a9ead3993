"""The layouts that are known, one module per family.

A layout is added as a `Layout` in a module of this package: in its `LAYOUTS`, and where the
module is new, that in `ALL`.
"""

from __future__ import annotations

from typing import Any

from equiaudit.data.layouts import (
    arrow,
    bare,
    classes,
    coco,
    detection,
    inspection,
    labelled,
    paired,
    scenes,
    sequences,
    tables,
)
from equiaudit.data.layouts.base import Asked, Kind, Layout, Listing, Rank
from equiaudit.data.tree import Tree
from equiaudit.errors import InputError

__all__ = ["ALL", "Asked", "Kind", "Layout", "Listing", "Rank", "find"]

ALL: tuple[Layout[Any], ...] = (
    *classes.LAYOUTS,
    *labelled.LAYOUTS,
    *arrow.LAYOUTS,
    *paired.LAYOUTS,
    *inspection.LAYOUTS,
    *scenes.LAYOUTS,
    *tables.LAYOUTS,
    *coco.LAYOUTS,
    *detection.LAYOUTS,
    *sequences.LAYOUTS,
    *bare.LAYOUTS,
)


def find(tree: Tree, kind: Kind, name: str = "auto") -> Layout[Any] | None:
    """The layout of `kind` called `name`, or the one that `tree` has; None where none fits.

    InputError where two fit equally, or where no layout has that name.
    """
    known = [layout for layout in ALL if layout.kind == kind]
    if name != "auto":
        return _named(known, kind, name)
    for rank in sorted({layout.rank for layout in known}):
        fitting = [layout for layout in known if layout.rank == rank and layout.fits(tree)]
        if len(fitting) > 1:
            raise InputError(
                f"{tree.root} can be read as {fitting[0].name} and as {fitting[1].name}.",
                tip=f"Say which with --layout {fitting[0].name} or --layout {fitting[1].name}.",
            )
        if fitting:
            return fitting[0]
    return None


def _named(known: list[Layout[Any]], kind: Kind, name: str) -> Layout[Any]:
    for layout in known:
        if layout.name == name:
            return layout
    elsewhere = sorted({layout.kind for layout in ALL if layout.name == name})
    if elsewhere:
        raise InputError(
            f"The layout {name} is of {' and '.join(elsewhere)} data, and this is {kind}.",
            tip=f"Layouts of {kind} data: {', '.join(layout.name for layout in known)}.",
        )
    raise _unknown(name)


def check_name(name: str) -> None:
    """InputError where no layout of any kind is called `name`."""
    if all(layout.name != name for layout in ALL):
        raise _unknown(name)


def _unknown(name: str) -> InputError:
    return InputError(
        f"There is no layout {name!r}.", tip="equiaudit layouts lists them with a picture each."
    )
