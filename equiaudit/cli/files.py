"""Output folders and files: named after the model, written beside and renamed."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from equiaudit.errors import InputError

__all__ = ["default_folder", "write_text"]


def default_folder(model: str) -> Path:
    """``reports/<model>``: a file's name without its suffix, or a zoo model's name."""
    scheme, colon, name = model.partition(":")
    is_zoo = bool(colon) and scheme in ("torchvision", "timm")
    stem = name if is_zoo else Path(model).stem
    return Path("reports", re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "model")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 beside `path` and rename it, so that it is never half there."""
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except OSError as error:
        _remove(beside)
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}.",
            tip="Name another folder with -o.",
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove(beside: str | None) -> None:
    if beside is not None and os.path.exists(beside):
        os.unlink(beside)
