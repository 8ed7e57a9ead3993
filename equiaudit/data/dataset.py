"""A folder of images, opened: which files, which labels, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.classes import Classes, ClassOrder, Known, Reading, classes_of
from equiaudit.data.items import NO_LABEL, Item, Items
from equiaudit.data.labels import labels_of_table
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images, sub_folders
from equiaudit.data.places import Place, let_go, place_of, tables_in
from equiaudit.data.truth import TruthReader
from equiaudit.errors import InputError

__all__ = ["Dataset", "Doubt", "check_limit", "drawn", "existing_folder", "open_dataset"]


@dataclass(frozen=True, eq=False)
class Doubt:
    """Labels that can be read in several ways; what a model says of the images may tell."""

    source: str
    readings: tuple[Reading, ...]
    """The one that the labels follow, and others."""
    labels: tuple[NDArray[np.int32], ...]
    """(n,) of each reading."""
    settled: bool
    """The first holds where nothing speaks for another."""


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
    doubt: Doubt | None = field(default=None, compare=False)
    """Where the labels are one of several readings."""

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int) -> Item:
        """The image whose `Item.index` that is; KeyError where there is none."""
        place = int(np.searchsorted(self.items.indices, index))
        if place == len(self) or self.items[place].index != index:
            raise KeyError(index)
        return self.items[place]

    def read_as(self, place: int, note: str) -> Dataset:
        """With the labels of reading `place` of the doubt, which is then settled."""
        if self.doubt is None:
            return self
        labels, digest = self.doubt.labels[place], hashlib.sha256(self.listing_sha256.encode())
        digest.update(labels.tobytes())
        return replace(
            self,
            items=replace(self.items, labels=labels),
            class_names=self.doubt.readings[place].names,
            listing_sha256=digest.hexdigest() if place else self.listing_sha256,
            notes=(*self.notes, note),
            doubt=None,
        )


@dataclass(frozen=True, eq=False)
class _Labels:
    of_image: NDArray[np.int32] | None = None
    """(n,) of every image listed, `NO_LABEL` where it has none; None where none has."""
    class_names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    others: tuple[NDArray[np.int32], ...] = ()
    """(n,) labels of each reading, as `of_image`."""
    source: str = ""
    settled: bool = False

    @classmethod
    def of(cls, told: Sequence[str | None], classes: Classes, source: str) -> _Labels:
        """Of what each image listed is labelled with, None where it is not."""

        def by(index: Mapping[str, int]) -> NDArray[np.int32]:
            places = (NO_LABEL if label is None else index[label] for label in told)
            return np.fromiter(places, np.int32, len(told))

        return cls(
            by(classes.index),
            classes.names,
            classes.notes,
            classes.readings,
            tuple(by(reading.index) for reading in classes.readings),
            source,
            classes.settled,
        )


def open_dataset(
    root: str | Place,
    *,
    labels: str | Place | None = None,
    class_names: Sequence[str] | None = None,
    class_ids: Sequence[str] | None = None,
    num_classes: int | None = None,
    class_order: ClassOrder | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root` and find their labels.

    `root` and `labels` are paths, or URLs that fsspec reads. With `labels`, a table of files
    and labels gives them (`labels_of_table`). Else class sub-folders do (see `classes_of` for
    how their names become indices; a class folder without images still counts as a class), and
    a flat folder is unlabelled. A folder whose images are all in ``images`` stands for that
    folder. `class_names`, `class_ids` and `num_classes` are the model's. Where the labels can be
    read in several ways, those of the dataset are one of them and its `doubt` holds all;
    `class_order` leaves the readings of that kind.

    `limit` keeps that many images, drawn from the whole by `seed`; a larger limit keeps
    those of a smaller one. Raises InputError where there is no such folder, no image, or
    where labels and model contradict each other.
    """
    check_limit(limit)
    top = place_of(root)
    folder, images = _listed(top)
    if not images:
        raise InputError(
            f"There are no images in {folder}.",
            tip=f"Looked for {' '.join(sorted(EXTENSIONS))} at any depth.",
        )
    known = Known(num_classes, class_names, class_ids)
    if labels is not None:
        found = _table_labels(place_of(labels), images, folder, known, class_order)
    else:
        found = _folder_labels(images, folder, known, class_order)
    notes = found.notes + _unused_notes(top, folder, labels is not None)
    let_go(top)
    return _dataset(folder, images, found, _chosen(len(images), found, limit, seed), notes)


def check_limit(limit: int | None) -> None:
    """InputError for a limit that leaves nothing."""
    if limit is not None and limit < 1:
        raise InputError(f"The limit is {limit}, and at least one image is needed.")


def existing_folder(root: Place) -> Place:
    """`root`; InputError where it is no folder."""
    if not root.exists():
        raise InputError(f"There is no folder {root}.")
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.", tip="DATA is a folder of images.")
    return root


def _listed(root: Place) -> tuple[Place, tuple[ImageFile, ...]]:
    """The folder that the images' names are relative to, and the images."""
    images = list_images(existing_folder(root))
    tops = {image.name.partition("/")[0] for image in images}
    if "images" in tops and tops <= {"images", "masks", "targets"}:
        return root / "images", list_images(root / "images")
    return root, images


def _unused_notes(root: Place, folder: Place, has_labels: bool) -> tuple[str, ...]:
    if folder == root or has_labels:
        return ()
    tables = tables_in(root)
    return (f"{root / tables[0]} is not read; --labels does that.",) if tables else ()


def _table_labels(
    path: Place,
    images: Sequence[ImageFile],
    root: Place,
    known: Known,
    order: ClassOrder | None,
) -> _Labels:
    names = {image.name: None for image in images}  # ordered, as notes quote the first ones
    told, classes = labels_of_table(path, names, root, known, order)
    return _Labels.of([told.get(name) for name in names], classes, f"rows of {path.name}")


def _folder_labels(
    images: Sequence[ImageFile], root: Place, known: Known, order: ClassOrder | None
) -> _Labels:
    loose = sum("/" not in image.name for image in images)
    if loose == len(images):
        return _Labels()
    if loose:
        raise InputError(
            f"{root} holds both images and folders of images, so it is neither a flat folder"
            " nor one of class folders.",
            tip="Move the loose images away, or give --labels FILE.csv.",
        )
    folders = sub_folders(root)
    classes = classes_of(folders, known, source="class folders", order=order)
    tops = [image.name.partition("/")[0] for image in images]
    empty = sorted(set(folders) - set(tops))
    notes = (f"Class folders without an image: {', '.join(map(repr, empty))}.",) if empty else ()
    classes = replace(classes, notes=classes.notes + notes)
    return _Labels.of(tops, classes, "class folders")


def _chosen(total: int, found: _Labels, limit: int | None, seed: int) -> NDArray[np.int32]:
    """Places in the listing of `total` images that are kept, ascending."""
    kept = np.arange(total, dtype=np.int32)
    if found.of_image is not None:
        kept = kept[found.of_image != NO_LABEL]
    return drawn(kept, limit, seed)


def drawn(kept: NDArray[np.int32], limit: int | None, seed: int) -> NDArray[np.int32]:
    """`limit` of `kept`, drawn by a hash of each, as random generators change; ascending."""
    if limit is None or limit >= len(kept):
        return kept
    return np.array(sorted(sorted(kept.tolist(), key=lambda i: _lot(seed, i))[:limit]), np.int32)


def _lot(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}:{index}".encode()).digest()


def _dataset(
    root: Place,
    images: Sequence[ImageFile],
    found: _Labels,
    chosen: NDArray[np.int32],
    notes: tuple[str, ...],
) -> Dataset:
    kept = [images[i] for i in chosen]
    labels = None if found.of_image is None else found.of_image[chosen]
    digest = hashlib.sha256()
    for i, image in enumerate(kept):
        label = None if labels is None else int(labels[i])
        digest.update(f"{len(image.name)}:{image.name}:{image.size}:{label}\n".encode())
    return Dataset(
        root=root,
        items=Items.of(root, (image.relative for image in kept), labels, chosen),
        class_names=found.class_names,
        labelled=labels is not None,
        listing_sha256=digest.hexdigest(),
        notes=notes,
        doubt=_doubt(found, chosen),
    )


def _doubt(found: _Labels, chosen: NDArray[np.int32]) -> Doubt | None:
    """The readings that differ on the images kept."""
    labels = [each[chosen] for each in found.others]
    kept = [i for i, own in enumerate(labels) if not any((own == b).all() for b in labels[:i])]
    if len(kept) < 2:
        return None
    readings = tuple(found.readings[i] for i in kept)
    return Doubt(found.source, readings, tuple(labels[i] for i in kept), found.settled)
