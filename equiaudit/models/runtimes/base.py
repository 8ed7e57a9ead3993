"""What a runtime is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

Forward = Callable[["torch.Tensor"], dict[str, Any]]
"""A batch in the file's own layout and dtype in, its outputs by name out."""


@dataclass(frozen=True)
class Port:
    """An input of a file, as onnxruntime describes those of a session."""

    name: str
    type: str
    """"tensor(float)", "tensor(uint8)", ..."""
    shape: tuple[int | None, ...]


class Runtime(Protocol):
    """Something that runs files; importing its module imports neither it nor torch."""

    @property
    def label(self) -> str:
        """Its name in sentences."""
        ...

    @property
    def package(self) -> str:
        """The module that Python imports."""
        ...

    @property
    def extra(self) -> str:
        """What equiaudit installs it by; "" where it always does."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of files (`models.sniff.FileKind`) that it runs; the first that it does not
        share with others is its own."""
        ...

    @property
    def tip(self) -> str:
        """How a file of another kind becomes one that it reads."""
        ...

    def settings(self) -> Mapping[str, str]:
        """What it has to be told so that it computes as it does here, by its own names."""
        ...

    def said(self) -> str:
        """Its version, threads and precision, in words."""
        ...

    def forward(
        self,
        source: Path | bytes,
        device: torch.device,
        *,
        what: str,
        image: str = "",
        inputs: Mapping[str, str] | None = None,
    ) -> Forward:
        """What runs the file; InputError where it cannot.

        `image` names the input that takes the batch, else the first does; `inputs` are values
        for the others.
        """
        ...
