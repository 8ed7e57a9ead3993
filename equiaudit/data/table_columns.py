"""What the columns of tables are called, the likeliest first."""

from __future__ import annotations

from collections.abc import Sequence

FILE_COLUMNS = [
    "file",
    "file_name",
    "filename",
    "image",
    "image_name",
    "image_path",
    "path",
    "file_path",
    "filepath",
    "img",
    "img_path",
    "image_file",
    "image_id",
    "img_id",
    "image_label",
    "id_code",
    "id",
    "name",
]
LABEL_COLUMNS = [
    "label",
    "class",
    "target",
    "y",
    "category",
    "class_id",
    "label_id",
    "category_id",
    "class_index",
    "label_index",
    "class_name",
    "label_name",
    "category_name",
    "classid",
    "classes",
    "labels",
    "tags",
    "ground_truth",
    "gt",
    "diagnosis",
]


def plain(name: str) -> str:
    """A header's cell as the lists above have it."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def column_named(
    names: Sequence[str], known: Sequence[str], without: int | None = None
) -> int | None:
    """The column with the likeliest of the `known` names."""
    for name in known:
        if name in names and names.index(name) != without:
            return names.index(name)
    return None
