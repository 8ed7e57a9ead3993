"""An ONNX file as something to call: in onnxruntime, and in other runtimes beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from equiaudit.errors import EquiauditError
from equiaudit.models.runtimes import RUNTIMES, installed
from equiaudit.models.runtimes.base import Forward

Run = Callable[[torch.Tensor], torch.Tensor]
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class InRuntimes:
    """The file in onnxruntime; `elsewhere` has the same file in others, by their labels."""

    main: Run
    elsewhere: Mapping[str, Run] = field(default_factory=dict)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """What onnxruntime makes of a batch."""
        return self.main(batch)


def in_runtimes(path: Path, names: Sequence[str], outputs: Callable[[Forward], Run]) -> InRuntimes:
    """The file at `path`; `outputs` makes what returns its outputs in order.

    InputError where a runtime cannot read it.
    """

    def loaded(name: str) -> Run:
        return outputs(installed(name).forward(path, _CPU, what=path.name))

    main = loaded("onnxruntime")
    return InRuntimes(main, {RUNTIMES[name].label: loaded(name) for name in names})


def elsewhere(run: Run) -> Mapping[str, Run]:
    """`run` in the runtimes besides its own, by their labels; {} where there are none."""
    return run.elsewhere if isinstance(run, InRuntimes) else {}


def control_of(run: Run, label: str) -> Run:
    """The control of a file in the runtime called `label`: there too, if it runs there."""
    own = elsewhere(run).get(label)
    if own is None:
        return run

    def called(batch: torch.Tensor) -> torch.Tensor:
        try:
            return own(batch)
        except EquiauditError:  # the unmodified file need not run there
            return run(batch)

    return called
