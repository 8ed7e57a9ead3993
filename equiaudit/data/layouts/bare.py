"""Images of which no class and no mask is known, for tasks that ask for neither."""

from __future__ import annotations

from equiaudit.data.layouts.base import Asked, Layout, Listing, Rank
from equiaudit.data.layouts.classes import listed
from equiaudit.data.tree import Tree


def _read(tree: Tree, asked: Asked) -> Listing:
    return Listing(*listed(tree))


LAYOUTS = tuple(
    Layout(
        name="images",
        kind=kind,
        rank=Rank.PLAIN,
        looks="1.jpg\nany/2.jpg",
        assumed="Images at any depth; folders say nothing of them.",
        fits=lambda tree: True,
        read=_read,
    )
    for kind in ("regression", "heatmap")
)
