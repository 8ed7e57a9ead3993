"""What lies beside the images and is not read."""

from __future__ import annotations

import posixpath
from collections import Counter

from equiaudit.data.layouts.base import Listing
from equiaudit.data.listing import ImageFile, is_mask
from equiaudit.data.tree import Tree

_MOST = 4


def left_beside(tree: Tree, listing: Listing) -> tuple[str, ...]:
    """Files in the folders of the images that are neither images nor masks, by their ending."""
    if len(tree.files) == len(tree.images):
        return ()
    others = [file for file in tree.files if not is_mask(file.relative)]
    full = {_folder(image) for image in listing.images}
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for file in others:
        if file.name in listing.read_too or _folder(file) not in full:
            continue
        ending = posixpath.splitext(file.name)[1].lower() or "no ending"
        counts[ending] += 1
        first.setdefault(ending, file.name)
    shown = [f"{n} of {ending} ({first[ending]})" for ending, n in counts.most_common(_MOST)]
    return (f"Beside the images and not read: {', '.join(shown)}.",) if shown else ()


def _folder(file: ImageFile) -> str:
    return f"{file.root}/{file.relative}".rpartition("/")[0]
