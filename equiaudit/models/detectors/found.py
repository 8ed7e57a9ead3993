"""Whether a model is a detector: what is declared of it, its metadata, what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equiaudit.errors import InputError
from equiaudit.graphs.outputs import named_tensors
from equiaudit.models.detectors.declaration import Declaration, parse_detector, parse_flag
from equiaudit.models.detectors.readers import is_list_of_dicts
from equiaudit.models.preprocess import Given, read_preprocess_file

_ULTRALYTICS = "detect"


def stated_detector(flag: str | None, table: Given | None, *, trust: bool) -> Declaration | None:
    """What `--detector` says, else the `[detector]` table of the model; None where neither is.

    InputError for a decoder that a file names, which is code, without `trust`.
    """
    if flag is not None:
        path = Path(flag)
        if path.suffix != ".toml":
            return parse_flag(flag)
        table = read_preprocess_file(path, origin="--detector").get("detector")
        if table is None:
            raise InputError(f"{path} has no [detector] table.")
        return parse_detector(table.value, where=str(path), source=f"--detector {path.name}")
    if table is None:
        return None
    where = f"the [detector] table of {table.source}"
    found = parse_detector(table.value, where=table.source, source=where)
    if found.decoder and not trust:
        raise InputError(
            f"{where} names the decoder {found.decoder}, which is code.",
            tip=f"--trust runs it, or --detector {found.decoder} says so here.",
        )
    return found


def find_detector(declared: Declaration | None, returned: Any, stated: str) -> Declaration | None:
    """What was declared; else what metadata or the type of what is returned say.

    `stated` is the task that the file's metadata state.
    """
    if declared is not None:
        return declared
    rows = returned[-1] if isinstance(returned, tuple) and returned else returned
    if is_list_of_dicts(rows):
        said = "what it returns (a list with boxes, scores and labels per image)"
        return parse_detector({"preset": "torchvision"}, where=said, source=said)
    if stated != _ULTRALYTICS:
        return None
    first = next((tensor for _, tensor in named_tensors(returned)), None)
    ended = first is not None and first.dim() == 3 and first.shape[2] == 6
    preset = "yolov10" if ended else "yolov8"
    said = f"the metadata (task {stated!r})"
    return parse_detector({"preset": preset}, where=said, source=said)
