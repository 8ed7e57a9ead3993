"""A module that returns one named output of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from equiaudit.errors import NothingToDo
from equiaudit.graphs.outputs import main_output

__all__ = ["returning"]


class _Returning(nn.Module):
    """`net`, of whose outputs the one at `path` is returned."""

    def __init__(self, net: nn.Module, path: str) -> None:
        super().__init__()
        self.net, self._path = net, path

    def forward(self, x: torch.Tensor) -> Any:
        """That output."""
        return _at(self.net(x), self._path)


def returning(module: nn.Module, path: str, batch: torch.Tensor) -> nn.Module:
    """`module` where its main output is the one at `path`, else one that returns only that.

    `path` is dotted, as in "aux" or "heads.0"; `batch` is a batch that `module` takes.
    NothingToDo where there is no such output, or `module` is an exported graph.
    """
    with torch.no_grad():
        returned = module(batch)
        try:
            wanted = _at(returned, path)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise NothingToDo(f"The model has no output {path!r} to convert.") from error
        if wanted is main_output(returned):
            return module
        if isinstance(module, fx.GraphModule):
            raise NothingToDo(
                f"An exported graph is converted for its main output, and {path!r} is another.",
                tip="Export the model so that it returns that output first.",
            )
        chosen = _Returning(module, path).eval()
        if isinstance(module, torch.jit.ScriptModule):
            traced: nn.Module = torch.jit.trace(chosen, batch, check_trace=False)  # type: ignore[no-untyped-call]
            return traced
        return chosen


def _at(returned: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(returned, Mapping):
            returned = returned[key]
        elif isinstance(returned, tuple | list) and not hasattr(returned, "_fields"):
            returned = returned[int(key)]
        else:
            returned = getattr(returned, key)
    return returned
