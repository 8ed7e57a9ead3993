"""The folder that is asked about; imports no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from equiaudit.data.listing import (
    EXTENSIONS,
    Files,
    holds_images,
    images_of,
    list_files,
    list_images,
    printable,
)
from equiaudit.data.places import Place, folder_of
from equiaudit.errors import InputError


class Tree:
    """The folder that is asked about: every file in it, listed once."""

    def __init__(self, root: Place) -> None:
        if not root.exists():
            raise InputError(f"There is no folder {root}.")
        if not root.is_dir():
            raise InputError(f"{root} is not a folder.", tip="DATA is a folder of images.")
        self.root = root

    @cached_property
    def files(self) -> Files:
        """All, sorted by the bytes of their names relative to `root`; hidden ones left out."""
        return list_files(self.root)

    @cached_property
    def images(self) -> Files:
        """Those of `files` that are images by their ending."""
        return images_of(self.files)

    @cached_property
    def folders(self) -> str:
        """The folders that hold files, relative to `root`, one a line."""
        found = {file.relative.rpartition("/")[0] for file in self.files}
        return "\n".join(sorted(map(printable, found)))

    @cached_property
    def tops(self) -> frozenset[str]:
        """What the images lie in: the first parts of their names."""
        return frozenset(self.top_of)

    @cached_property
    def top_of(self) -> list[str]:
        """That of each image."""
        return first_parts(self.images.names)

    def has(self, *folders: str) -> bool:
        """Whether there are all these folders."""
        return all((self.root / folder).is_dir() for folder in folders)

    def under(self, folder: str) -> Files:
        """The images of one folder, named relative to it."""
        return list_images(self.root / folder)


def first_parts(names: Sequence[str]) -> list[str]:
    """The folders that images lie in, or their own names where they lie in none."""
    return [name.partition("/")[0] for name in names]


def no_images(folder: Place) -> InputError:
    """The refusal of a folder without images."""
    return InputError(
        f"There are no images in {folder}.",
        tip=f"Looked for {' '.join(sorted(EXTENSIONS))} at any depth.",
    )


def check_images(root: str | Place) -> None:
    """InputError where there is no folder at `root`, or no image in it; one on disk is looked at.

    Nothing is kept: the first image ends the search.
    """
    folder = folder_of(root)
    if isinstance(folder, Path):
        Tree(folder)
        if not holds_images(folder):
            raise no_images(folder)
