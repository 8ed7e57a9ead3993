"""What files say of their own preprocessing, read without torch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from equiaudit.data.class_names import names_in_file, names_in_mapping
from equiaudit.models.preprocess import (
    PREPROCESS_EXTRA_FILE,
    PREPROCESS_KEY,
    Given,
    Hints,
    PreprocessFields,
    parse_preprocess,
)
from equiaudit.models.preprocess_values import MULTI, several_channels
from equiaudit.models.zips import member_bytes, members_bytes

Shape = tuple[int | None, ...]
"""Of the image batch; None for a side that is free."""

_SHAPE_SOURCE = "torch.export input shape"
_SETTINGS = ("extra/config", "extra/metadata", "extra/meta")
_NAMES_FILES = tuple(
    f"{stem}{ending}"
    for stem in ("extra/names", "extra/class_names", "extra/classes", "extra/labels",
                 "extra/id2label", "extra/index_to_name", "extra/class_to_idx", *_SETTINGS)
    for ending in ("", ".json", ".txt")
)  # fmt: skip
"""`config.txt` is where Ultralytics puts a table with `names`."""
_MOST_NAMES = 1 << 20  # bytes
_MOST_TEXT = 1 << 15  # bytes; `parse_preprocess` refuses less
_MOST_PROGRAM = 32 << 20  # bytes of JSON
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
            NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile)  # fmt: skip


def script_hints(archive: Path) -> Hints:
    """Of a TorchScript archive."""
    return Hints(_extra_fields(archive, "TorchScript extra file"))


def export_hints(archive: Path, shape: Shape) -> Hints:
    """Of a .pt2 archive whose program takes an image batch of `shape`, which fixes the rest."""
    stated = _extra_fields(archive, ".pt2 extra file")
    nhwc = "layout" in stated and stated["layout"].value == "NHWC"
    channels, sides = (shape[3], shape[1:3]) if nhwc else (shape[1], shape[2:])
    fixed: dict[str, Given] = {}
    if None not in sides:
        fixed["size"] = Given(sides, _SHAPE_SOURCE)
    planes = several_channels(channels, str(archive))
    if channels == 1 or planes is not None:
        fixed["channels"] = Given("gray" if planes is None else MULTI, _SHAPE_SOURCE)
    return Hints(stated, fixed, planes)


def _extra_fields(archive: Path, source: str) -> PreprocessFields:
    content = member_bytes(archive, f"extra/{PREPROCESS_EXTRA_FILE}", _MOST_TEXT)
    if not content:
        return {}
    text = content.decode(errors="replace")
    return parse_preprocess(text, where=f"{PREPROCESS_EXTRA_FILE} in {archive}", source=source)


def names_beside(archive: Path) -> tuple[str, ...] | None:
    """The class names among the extra files of an archive: a list, or a table of settings."""
    for name, content in members_bytes(archive, _NAMES_FILES, _MOST_NAMES):
        text = content.decode(errors="replace").strip()
        own = None if name.startswith(_SETTINGS) else names_in_file(text)
        found = own or names_in_mapping(_table(text))
        if found is not None:
            return found
    return None


def _table(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def metadata_hints(metadata: dict[str, str], path: Path) -> Hints:
    """Of the metadata of a safetensors file."""
    if PREPROCESS_KEY not in metadata:
        return Hints()
    where = f"the metadata of {path}"
    return Hints(
        parse_preprocess(metadata[PREPROCESS_KEY], where=where, source="safetensors metadata")
    )


def early_script_hints(archive: Path) -> Hints | None:
    """`script_hints`; None where the archive is damaged, which loading it will say."""
    try:
        return script_hints(archive)
    except _DAMAGED:
        return None


def early_export_hints(archive: Path) -> Hints | None:
    """`export_hints` with the shape as the archive states it; None where that is not plain."""
    try:
        content = member_bytes(archive, "models/model.json", _MOST_PROGRAM)
        shape = _program_shape(json.loads(content or b"{}")["graph_module"])
        return None if shape is None else export_hints(archive, shape)
    except _DAMAGED:
        return None


def _program_shape(program: dict[str, Any]) -> Shape | None:
    """Of the one tensor of four axes that is the user's to give; None where it is not so."""
    wanted = [spec["user_input"]["arg"] for spec in program["signature"]["input_specs"]
              if "user_input" in spec]  # fmt: skip
    if len(wanted) != 1 or "as_tensor" not in wanted[0]:
        return None
    sizes = program["graph"]["tensor_values"][wanted[0]["as_tensor"]["name"]]["sizes"]
    return tuple(side.get("as_int") for side in sizes) if len(sizes) == 4 else None


def early_safetensors_hints(path: Path) -> Hints | None:
    """`metadata_hints` of a file whose tensors are not read; None where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return metadata_hints(file.metadata() or {}, path)
    except (SafetensorError, OSError, ValueError):
        return None
