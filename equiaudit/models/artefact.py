"""What a loader hands on: something to call, and what the file says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.models.preprocess import Hints
from equiaudit.models.types import ModelKind

if TYPE_CHECKING:
    import torch

Forward = Callable[["torch.Tensor"], Any]
"""A batch in the model's own layout and dtype in, whatever the model returns out."""
ALONE = (
    "quantised dynamically, by the largest value in a whole batch: run on one image at a time, so"
    " that none changes another's answer"
)
"""The note of a net that one batch per image is for."""


@dataclass(frozen=True)
class Artefact:
    """A model read from its source, not yet on a device and not yet probed.

    Exactly one of `module` (torch), `onnx` (the path of an ONNX file) and `own` (the path of a
    file of a runtime's own kind) is set. `eager`
    tells a module made of Python code, which `torch.compile` takes, from an archive.
    """

    name: str
    kind: ModelKind
    sha256: str
    path: Path | None = None
    module: torch.nn.Module | None = None
    onnx: Path | None = None
    own: Path | None = None
    eager: bool = False
    hints: Hints = field(default_factory=Hints)
    fixed_batch: int | None = None
    trusted: bool = False
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    batches: tuple[int, ...] = ()
    """Batch sizes that may be built in although the input states none."""
    takes: torch.dtype | None = None
    """The dtype of the image, where an archive states it."""
    image_input: str = ""
    """The input of a file that takes the images."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Values for the others, by name."""

    def names_of(self, classes: int | None, least: int = 2) -> tuple[str, ...] | None:
        """Its class names, unless they are not as many as the output has classes, or `least`."""
        names = self.class_names
        if names is None or classes is None:
            return names
        return names if len(names) == max(least, classes) else None
