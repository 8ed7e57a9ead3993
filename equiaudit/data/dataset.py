"""A folder of images, opened: which files, which labels or masks, in a fixed order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.classes import ClassOrder, Doubt, Known
from equiaudit.data.items import NO_LABEL, Item, Items, Names, Truths
from equiaudit.data.layouts import Asked, Kind, Listing, Rank, find
from equiaudit.data.layouts.beside import left_beside
from equiaudit.data.layouts.classes import read_labels_file
from equiaudit.data.listing import Files, ImageFile
from equiaudit.data.mask_survey import settled
from equiaudit.data.masks import MaskReader
from equiaudit.data.numbers import numbers_of_table
from equiaudit.data.places import Place, folder_of, let_go, place_of
from equiaudit.data.tree import Tree, no_images
from equiaudit.data.truth import TruthReader
from equiaudit.errors import InputError


@dataclass(frozen=True)
class Dataset:
    """Images in the byte order of their names, at least one."""

    root: Place
    items: Items
    class_names: Mapping[int, str]
    """Class index -> name; empty where no names are known."""
    labelled: bool
    """Labels, masks or targets are known."""
    listing_sha256: str
    """Of the names, file sizes and labels of `items`: cheap, for telling whether a run that
    was stopped may go on. It does not look into the files."""
    notes: tuple[str, ...] = ()
    """What was left out or decided on opening."""
    truth: TruthReader | None = None
    """How the masks or targets of `items` are read, where there are any."""
    layout: str = ""
    """The name of the layout that was found, or asked for."""
    doubt: Doubt | None = field(default=None, compare=False)
    """Where the labels are one of several meanings."""
    numbers: NDArray[np.float64] | None = field(default=None, compare=False)
    """(n, K) what a regression should say of each of `items`, where that is known."""

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int) -> Item:
        """The image whose `Item.index` that is; KeyError where there is none."""
        place = int(np.searchsorted(self.items.indices, index))
        if place == len(self) or self.items[place].index != index:
            raise KeyError(index)
        return self.items[place]

    def read_as(self, place: int, note: str) -> Dataset:
        """With the labels of meaning `place` of the doubt, which is then settled."""
        if self.doubt is None:
            return self
        labels, digest = self.doubt.labels[place], hashlib.sha256(self.listing_sha256.encode())
        digest.update(labels.tobytes())
        return replace(
            self,
            items=replace(self.items, labels=labels),
            class_names=self.doubt.meanings[place].names,
            listing_sha256=digest.hexdigest() if place else self.listing_sha256,
            notes=(*self.notes, note),
            doubt=None,
        )


def open_dataset(
    root: str | Place,
    *,
    labels: str | Place | None = None,
    class_names: Sequence[str] | None = None,
    class_ids: Sequence[str] | None = None,
    num_classes: int | None = None,
    class_order: ClassOrder | None = None,
    layout: str = "auto",
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root` and find their labels.

    `root` and `labels` are paths, or URLs that fsspec reads. With `labels`, a table of files
    and labels gives them (`labels_of_table`). Else class sub-folders do (see `classes_of` for
    how their names become indices; a class folder without images still counts as a class), and
    a flat folder is unlabelled. A folder whose images are all in ``images`` stands for that
    folder. `class_names`, `class_ids` and `num_classes` are the model's. Where the labels may
    mean several things, those of the data set are one of them and its `doubt` holds all;
    `class_order` leaves the meanings of that kind. `layout` names one of
    `equiaudit.data.layouts`, or is "auto" for the one that fits; `split` is one of train, val and
    test, of layouts that hold several in one place.

    `limit` keeps that many images, drawn from the whole by `seed`; a larger limit keeps
    those of a smaller one. Raises InputError where there is no such folder, no image, or
    where labels and model contradict each other.
    """
    _check_limit(limit)
    top = folder_of(root)
    table = None if labels is None else place_of(labels)
    known = Known(num_classes, class_names, class_ids)
    asked = Asked(table, known, class_order, split=split, named=layout != "auto")
    if table is not None:
        tree = Tree(top)
        name, listing = "labels-file", read_labels_file(tree, asked)
        listing = replace(listing, notes=listing.notes + left_beside(tree, listing))
    else:
        name, listing = listing_of(top, "classification", layout, asked)
    if split is not None and name != "datasets":
        raise InputError(
            f"{top} is read as {name}, which has no splits, so --split cannot apply.",
            tip="Name the folder of one split as DATA.",
        )
    let_go(top)
    return dataset_of(name, listing, limit, seed, class_names)


def open_dense_dataset(
    root: str | Place,
    kind: Kind,
    reader: TruthReader,
    *,
    class_names: Mapping[int, str] | None = None,
    layout: str = "auto",
    split: str | None = None,
    no_mask: Literal["refuse", "background"] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root`, and the mask (or target) of each, which `reader` will read.

    Every image has one or none has: InputError names the first that lacks it, unless the layout
    or `no_mask` says that such an image shows background. A `MaskReader` is told what the layout
    says of values, and what 255 means, by a look at the masks. `split` is one of train, val and
    test; `layout`, `limit` and `seed` choose as for `open_dataset`.
    """
    _check_limit(limit)
    top = folder_of(root)
    asked = Asked(split=split, no_mask=no_mask, named=layout != "auto")
    if isinstance(reader, MaskReader):
        asked = replace(
            asked,
            known=Known(reader.num_classes),
            table=reader.table,
        )
    name, listing = listing_of(top, kind, layout, asked)
    truth, notes = told(reader, listing)
    let_go(top)
    found = dataset_of(name, listing, limit, seed)
    names = dict(class_names or {}) or _names(truth)
    return replace(found, class_names=names, truth=truth, notes=found.notes + notes)


def open_bare_dataset(
    root: str | Place,
    kind: Kind,
    *,
    numbers: Place | None = None,
    layout: str = "auto",
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root`, of which neither class nor mask is asked.

    With `numbers`, a table of files and numbers (`numbers_of_table`), images that it does not
    name are left out; the names of its columns are the `class_names`. `kind`, `layout`, `limit`
    and `seed` choose as for `open_dense_dataset`.
    """
    _check_limit(limit)
    top = folder_of(root)
    name, listing = listing_of(top, kind, layout, Asked(named=layout != "auto"))
    let_go(top)
    if numbers is None:
        return dataset_of(name, listing, limit, seed)
    files = {image.name: None for image in listing.images}
    table = numbers_of_table(numbers, files, listing.root)
    known = [NO_LABEL if image.name not in table.of else 0 for image in listing.images]
    listing = replace(listing, labels=np.array(known, np.int32))
    found = dataset_of(name, listing, limit, seed)
    places = {image.name: image.relative for image in listing.images}
    by_file = {places[image]: row for image, row in table.of.items()}
    taken = found.items
    rows = np.stack([by_file[taken.names[int(row)]] for row in taken.rows])
    digest = hashlib.sha256(found.listing_sha256.encode() + rows.tobytes()).hexdigest()
    return replace(
        found,
        items=replace(taken, labels=None),
        numbers=rows,
        class_names=dict(enumerate(table.names)),
        listing_sha256=digest,
        notes=found.notes + table.notes,
    )


def told(reader: TruthReader, listing: Listing) -> tuple[TruthReader | None, tuple[str, ...]]:
    """The reader of a listing's masks or targets, None where it has none; and how it reads."""
    if not (listing.truth or listing.masked):
        return None, ()
    if not isinstance(reader, MaskReader):
        return reader, ()
    truth = (listing.truth.get(image.name) for image in listing.images)
    return settled(reader.under(listing.rule), [file.path for file in truth if file is not None])


def _names(truth: TruthReader | None) -> dict[int, str]:
    if not isinstance(truth, MaskReader):
        return {}
    return {i: name for i, name in truth.table.names.items() if i < truth.num_classes}


def has_targets(root: str | Place) -> bool:
    """Whether `root` holds targets and no masks."""
    root = folder_of(root)
    return (root / "targets").is_dir() and not has_masks(root)


def has_masks(root: str | Place) -> bool:
    """Whether `root` holds masks, in one of the layouts."""
    found = find(Tree(folder_of(root)), "segmentation")
    return found is not None and found.rank is not Rank.PLAIN


def _check_limit(limit: int | None) -> None:
    """InputError for a limit that leaves nothing."""
    if limit is not None and limit < 1:
        raise InputError(f"The limit is {limit}, and at least one image is needed.")


def listing_of(root: Place, kind: Kind, layout: str, asked: Asked) -> tuple[str, Listing]:
    """The layout of `root` by name, and what it lists; InputError where none fits or no image is.

    `layout` is "auto" for the one that is there.
    """
    tree = Tree(root)
    found = find(tree, kind, layout)
    if found is None:
        raise InputError(f"{root} has no layout that is known for {kind}.", tip="See docs/data.md.")
    listing: Listing = found.read(tree, asked)
    listing = replace(listing, notes=listing.notes + left_beside(tree, listing))
    if not listing.images:
        raise no_images(listing.root)
    return found.name, listing


def dataset_of(
    layout: str,
    listing: Listing,
    limit: int | None,
    seed: int,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """The images of `listing` that are kept, and what is known of them."""
    chosen = _chosen(listing, limit, seed)
    images = Files.of(listing.root, listing.images)
    if len(chosen) < len(images):
        images = images.taken(chosen.tolist())
    labels = None if listing.labels is None else listing.labels[chosen]
    items = Items.of(
        listing.root,
        images.relative,
        labels,
        chosen,
        _truths(images, listing.truth),
        _truths(images, listing.regions),
    )
    return Dataset(
        root=listing.root,
        items=items,
        class_names=listing.class_names or dict(enumerate(class_names or ())),
        labelled=labels is not None or bool(listing.truth) or listing.masked,
        listing_sha256=_digest(listing, images, labels),
        notes=listing.notes,
        layout=layout,
        doubt=None if listing.doubt is None else listing.doubt.of(chosen),
    )


def _truths(images: Files, of: Mapping[str, ImageFile]) -> Truths | None:
    if not of:
        return None
    found = [of.get(name) for name in images.names]
    root = next(iter(of.values())).root
    return Truths(root, Names.of("" if file is None else file.relative for file in found))


def _chosen(listing: Listing, limit: int | None, seed: int) -> NDArray[np.int32]:
    """Places in the listing that are kept, ascending."""
    kept = np.arange(len(listing.images), dtype=np.int32)
    if listing.labels is not None:
        kept = kept[listing.labels != NO_LABEL]
    return _drawn(kept, limit, seed)


def _drawn(kept: NDArray[np.int32], limit: int | None, seed: int) -> NDArray[np.int32]:
    """`limit` of `kept`, drawn by a hash of each, as random generators change; ascending."""
    if limit is None or limit >= len(kept):
        return kept
    return np.array(sorted(sorted(kept.tolist(), key=lambda i: _lot(seed, i))[:limit]), np.int32)


def _lot(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}:{index}".encode()).digest()


def _digest(listing: Listing, images: Files, labels: NDArray[np.int32] | None) -> str:
    digest = hashlib.sha256()

    def add(names: Sequence[str], sizes: Sequence[int]) -> None:
        """No name holds a zero byte."""
        named = os.fsencode("\0".join(names))
        digest.update(f"{len(names)} {len(named)} ".encode() + named)
        digest.update(np.array(sizes, np.int64).tobytes())

    add(images.relative, images.sizes)
    if labels is not None:
        digest.update(labels.astype(np.int64).tobytes())
    elif listing.truth:
        truth = [listing.truth.get(name) for name in images.names]
        add([t.relative if t else "" for t in truth], [t.size if t else -1 for t in truth])
    return digest.hexdigest()
