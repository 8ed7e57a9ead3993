"""A TorchScript module that returns a dict per image, as a `Net`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from equiaudit.errors import EquiauditError, InputError
from equiaudit.graphs.quiet import quiet
from equiaudit.models.detectors.inputs import Listed, takes_list
from equiaudit.models.preprocess import PREPROCESS_EXTRA_FILE, preprocess_toml
from equiaudit.models.types import Preprocess
from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.write import Saved, placed


@dataclass(frozen=True)
class DictsNet:
    """A module that returns a list with a dict of tensors per image; scripted, it can be written.

    `names` are the keys of a dict, in the order in which they are compared.
    """

    module: nn.Module
    names: tuple[str, ...]

    @property
    def graph(self) -> fx.GraphModule | None:
        """None: what it returns depends on the image."""
        return None

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        return sum(p.numel() for p in self.module.parameters())

    def devices(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The CPU."""
        return ("cpu",)

    def on(self, device: str) -> Run:
        """What the last image of a batch has, key by key; masks as (1, K, H, W)."""
        return _run(self.module, self.names)

    def save(
        self,
        path: Path,
        *,
        example: Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """As TorchScript; InputError for another suffix, which cannot hold a dict per image."""
        if path.suffix.lower() != ".pt":
            raise InputError(
                f"{path.name} cannot hold a module that returns a dict per image.",
                tip="Write a .pt, which is TorchScript.",
            )
        toml = preprocess_toml(preprocess)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            sidecar = draft.with_name(draft.name + ".toml")
            sidecar.write_text(toml, encoding="utf-8")
            with quiet():
                torch.jit.save(self.module, draft, _extra_files={PREPROCESS_EXTRA_FILE: toml})  # type: ignore[no-untyped-call]
                again: nn.Module = torch.jit.load(draft, map_location="cpu")  # type: ignore[no-untyped-call]
            reason = self._trouble(_run(again, self.names), example, check)
            return placed(draft, [sidecar], path.parent, reason)

    def _trouble(self, run: Run, example: Tensor, check: Callable[[Run], str | None]) -> str | None:
        try:
            ours, theirs = self.on("cpu")(example), run(example)
            if not all(map(torch.equal, ours, theirs)):
                return "The saved file returns other boxes than the module it was written from"
            return check(run)
        except EquiauditError as error:
            return str(error)


def _run(module: nn.Module, names: Sequence[str]) -> Run:
    called = Listed(module) if takes_list(module) else module

    def run(batch: Tensor) -> Any:
        with torch.no_grad():
            returned = called(batch.cpu())
        found = (returned[-1] if isinstance(returned, tuple) else returned)[-1]
        return tuple(
            found[name].transpose(0, 1) if name == "masks" else found[name] for name in names
        )

    return run
