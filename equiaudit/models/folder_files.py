"""Folders that hold a net, told by their files, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from equiaudit.errors import InputError, first_line
from equiaudit.models.foreign import foreign_folder

_LARGEST_JSON = 4 << 20  # bytes; 20,000 classes have names in less
BUNDLE = Path("configs", "metadata.json")
"""Of a MONAI bundle."""


def check_folder(path: Path) -> None:
    """InputError where no framework that is read here wrote the folder."""
    if (path / BUNDLE).is_file():
        return
    if (path / "adapter_config.json").exists():
        raise InputError(
            f"{path} is an adapter of PEFT, not a model.", tip="Merge it, and save the whole net."
        )
    if not (path / "config.json").is_file():
        raise foreign_folder(path) or InputError(
            f"{path} is a folder, not a model file.", tip=_inside(path)
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError where it holds none or is too large."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_JSON + 1)
        content = json.loads(text) if len(text) <= _LARGEST_JSON else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {first_line(error)}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no object, or is larger than {_LARGEST_JSON >> 20} MiB.")
    return content


def _inside(path: Path) -> str:
    kinds = (".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".pt2", ".bin")
    found = sorted(p.name for p in path.iterdir() if p.suffix in kinds)[:3]
    return f"Name a file in it: {', '.join(found)}." if found else "Give a model file."
