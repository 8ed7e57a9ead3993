"""Files of a runtime's own kind, as artefacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from equiaudit.models.artefact import Artefact
from equiaudit.models.hashing import file_sha256
from equiaudit.models.onnx_ports import ImageInput
from equiaudit.models.preprocess import Hints
from equiaudit.models.sniff import FileKind


@dataclass(frozen=True)
class RuntimeFile:
    """What such a file says of itself."""

    path: Path
    kind: FileKind
    image: ImageInput
    hints: Hints
    beside: tuple[Path, ...] = ()
    """The files that belong to it: weights."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load_runtime_file(opened: RuntimeFile) -> Artefact:
    """The model of the file; nothing of it is run yet."""
    said = tuple(f"input {name!r} is {value}" for name, value in opened.inputs.items())
    return Artefact(
        name=opened.path.name,
        kind=opened.kind,
        sha256=file_sha256(opened.path, opened.beside),
        path=opened.path,
        own=opened.path,
        hints=opened.hints,
        fixed_batch=opened.image.shape[0],
        image_input=opened.image.name,
        inputs=dict(opened.inputs),
        notes=opened.notes + said,
    )
