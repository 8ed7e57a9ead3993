"""A folder of images, opened: which files, which labels, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equiaudit.data.items import NO_LABEL, Item, Items
from equiaudit.data.labels import classes_of, labels_of_csv
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images, sub_folders
from equiaudit.data.places import Place, let_go, place_of, tables_in
from equiaudit.data.truth import TruthReader
from equiaudit.errors import InputError

__all__ = ["Dataset", "check_limit", "drawn", "existing_folder", "open_dataset"]


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

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int) -> Item:
        """The image whose `Item.index` that is; KeyError where there is none."""
        place = int(np.searchsorted(self.items.indices, index))
        if place == len(self) or self.items[place].index != index:
            raise KeyError(index)
        return self.items[place]


@dataclass(frozen=True, eq=False)
class _Labels:
    of_image: NDArray[np.int32] | None = None
    """(n,) of every image listed, `NO_LABEL` where it has none; None where none has."""
    class_names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_dataset(
    root: str | Place,
    *,
    labels: str | Place | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root` and find their labels.

    `root` and `labels` are paths, or URLs that fsspec reads. With `labels`, a CSV file with
    columns file and label gives them. Else class sub-folders do (see `classes_of` for how
    their names become indices; a class folder without images still counts as a class), and a
    flat folder is unlabelled. A folder whose images are all in ``images`` stands for that
    folder. `class_names` and `num_classes` are the model's.

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
    if labels is not None:
        found = _csv_labels(place_of(labels), images, folder, class_names, num_classes)
    else:
        found = _folder_labels(images, folder, class_names, num_classes)
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


def _csv_labels(
    path: Place,
    images: Sequence[ImageFile],
    root: Place,
    class_names: Sequence[str] | None,
    num_classes: int | None,
) -> _Labels:
    names = {image.name: None for image in images}  # ordered, as notes quote the first ones
    of_file, classes = labels_of_csv(path, names, root, class_names, num_classes)
    of_image = [of_file.get(name, NO_LABEL) for name in names]
    return _Labels(np.array(of_image, np.int32), classes.names, classes.notes)


def _folder_labels(
    images: Sequence[ImageFile],
    root: Place,
    class_names: Sequence[str] | None,
    num_classes: int | None,
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
    classes = classes_of(folders, class_names, num_classes, source="class folders")
    tops = (image.name.partition("/")[0] for image in images)
    of_image = np.fromiter((classes.index[top] for top in tops), np.int32, len(images))
    used = set(np.unique(of_image).tolist())
    empty = sorted(folder for folder in folders if classes.index[folder] not in used)
    notes = (f"Class folders without an image: {', '.join(map(repr, empty))}.",) if empty else ()
    return _Labels(of_image, classes.names, classes.notes + notes)


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
    items = Items.of(root, (image.relative for image in kept), labels, chosen)
    return Dataset(root, items, found.class_names, labels is not None, digest.hexdigest(), notes)
