"""A folder of images, opened: which files, which labels, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from equiaudit.data.labels import classes_of, labels_of_csv
from equiaudit.data.listing import EXTENSIONS, ImageFile, list_images, sub_folders
from equiaudit.data.truth import TruthReader
from equiaudit.errors import InputError

__all__ = ["Dataset", "Item", "existing_folder", "lot", "open_dataset"]


@dataclass(frozen=True)
class Item:
    """One image."""

    file: str
    """Its name relative to the dataset's root, posix; may hold newlines or markup."""
    path: Path
    label: int | None
    index: int
    """Its place in the full sorted listing of the folder, whatever `limit` and the labels
    left out: what is drawn for an image does not depend on its companions."""
    truth: Path | None = None
    """Its mask or target."""


@dataclass(frozen=True)
class Dataset:
    """Images in the byte order of their names, at least one."""

    root: Path
    items: tuple[Item, ...]
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


@dataclass(frozen=True)
class _Labels:
    of_file: Mapping[str, int]
    class_names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_dataset(
    root: str | Path,
    *,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """List the images under `root` and find their labels.

    With `labels`, a CSV file with columns file and label gives them. Else class sub-folders
    do (see `classes_of` for how their names become indices; a class folder without images
    still counts as a class), and a flat folder is unlabelled. A folder whose images are all
    in ``images`` stands for that folder. `class_names` and `num_classes` are the model's.

    `limit` keeps that many images, drawn from the whole by `seed`; a larger limit keeps
    those of a smaller one. Raises InputError where there is no such folder, no image, or
    where labels and model contradict each other.
    """
    if limit is not None and limit < 1:
        raise InputError(f"The limit is {limit}, and at least one image is needed.")
    folder, images = _listed(Path(root))
    if not images:
        raise InputError(
            f"There are no images in {folder}.",
            tip=f"Looked for {' '.join(sorted(EXTENSIONS))} at any depth.",
        )
    if labels is not None:
        found = _csv_labels(labels, images, folder, class_names, num_classes)
    else:
        found = _folder_labels(images, folder, class_names, num_classes)
    notes = found.notes + _unused_notes(Path(root), folder, labels)
    return _dataset(folder, images, found, _chosen(images, found, limit, seed), notes)


def existing_folder(root: Path) -> Path:
    """`root`; InputError where it is no folder."""
    if not root.exists():
        raise InputError(f"There is no folder {root}.")
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.", tip="DATA is a folder of images.")
    return root


def _listed(root: Path) -> tuple[Path, tuple[ImageFile, ...]]:
    """The folder that the images' names are relative to, and the images."""
    images = list_images(existing_folder(root))
    tops = {image.name.partition("/")[0] for image in images}
    if "images" in tops and tops <= {"images", "masks", "targets"}:
        return root / "images", list_images(root / "images")
    return root, images


def _unused_notes(root: Path, folder: Path, labels: Path | None) -> tuple[str, ...]:
    if folder == root or labels is not None:
        return ()
    tables = sorted(path.name for path in root.glob("*.csv"))
    return (f"{root / tables[0]} is not read; --labels does that.",) if tables else ()


def _csv_labels(
    path: Path,
    images: Sequence[ImageFile],
    root: Path,
    class_names: Sequence[str] | None,
    num_classes: int | None,
) -> _Labels:
    names = {image.name: None for image in images}  # ordered, as notes quote the first ones
    of_file, classes = labels_of_csv(path, names, root, class_names, num_classes)
    return _Labels(of_file, classes.names, classes.notes)


def _folder_labels(
    images: Sequence[ImageFile],
    root: Path,
    class_names: Sequence[str] | None,
    num_classes: int | None,
) -> _Labels:
    class_of = {image.name: image.name.partition("/")[0] for image in images if "/" in image.name}
    if not class_of:
        return _Labels({})
    if len(class_of) < len(images):
        raise InputError(
            f"{root} holds both images and folders of images, so it is neither a flat folder"
            " nor one of class folders.",
            tip="Move the loose images away, or give --labels FILE.csv.",
        )
    folders = sub_folders(root)
    classes = classes_of(folders, class_names, num_classes, source="class folders")
    empty = sorted(set(folders) - set(class_of.values()))
    notes = (f"Class folders without an image: {', '.join(map(repr, empty))}.",) if empty else ()
    of_file = {file: classes.index[name] for file, name in class_of.items()}
    return _Labels(of_file, classes.names, classes.notes + notes)


def _chosen(images: Sequence[ImageFile], found: _Labels, limit: int | None, seed: int) -> list[int]:
    """Positions in the listing that are kept, ascending."""
    kept = [i for i, image in enumerate(images) if not found.of_file or image.name in found.of_file]
    if limit is None or limit >= len(kept):
        return kept
    return sorted(sorted(kept, key=lambda i: lot(seed, i))[:limit])


def lot(seed: int, index: int) -> bytes:
    """What `limit` draws by: a hash, as random generators may change between versions."""
    return hashlib.sha256(f"{seed}:{index}".encode()).digest()


def _dataset(
    root: Path,
    images: Sequence[ImageFile],
    found: _Labels,
    chosen: Sequence[int],
    notes: tuple[str, ...],
) -> Dataset:
    digest, items = hashlib.sha256(), []
    for i in chosen:
        image, label = images[i], found.of_file.get(images[i].name)
        digest.update(f"{len(image.name)}:{image.name}:{image.size}:{label}\n".encode())
        items.append(Item(image.name, image.path, label, i))
    return Dataset(
        root, tuple(items), found.class_names, bool(found.of_file), digest.hexdigest(), notes
    )
