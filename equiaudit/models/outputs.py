"""Which tensor of what a model returns is the task's output, and what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equiaudit.errors import InputError, RunError
from equiaudit.tasks import TASKS, Task


@dataclass(frozen=True)
class OutputChoice:
    """The output taken: its name ("" where the model returns one tensor), place and task."""

    name: str
    place: int
    task: str


def named_tensors(returned: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a nest of tuples, lists, dicts and dataclasses, by its dotted path."""
    if isinstance(returned, Tensor):
        yield prefix, returned
        return
    for key, value in _children(returned):
        yield from named_tensors(value, f"{prefix}.{key}" if prefix else str(key))


def _children(returned: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(returned, Mapping):
        yield from returned.items()
    elif hasattr(returned, "_fields"):
        yield from zip(returned._fields, returned, strict=True)
    elif isinstance(returned, tuple | list):
        yield from enumerate(returned)
    elif dataclasses.is_dataclass(returned):
        yield from ((f.name, getattr(returned, f.name)) for f in dataclasses.fields(returned))


def choose_output(
    returned: Any, *, batch: int, task: str, output: str | int | None, what: str
) -> OutputChoice:
    """The output named `output` (or at that place), else the first that fits the task.

    Raises InputError that lists the outputs and their shapes where none does.
    """
    tensors = list(named_tensors(returned))
    places = list(range(len(tensors))) if output is None else [_place(output, tensors, what)]
    # Several classes before a single score: a second head often is one (depth, quality, ...).
    places.sort(key=lambda place: tensors[place][1].shape[1:2] == (1,))
    asked = [t for t in TASKS.values() if t.guessed] if task == "auto" else [TASKS.named(task)]
    for place in places:
        name, tensor = tensors[place]
        for each in asked:
            if _fits(each, tensor, batch):
                return OutputChoice(name, place, each.name)
    raise InputError(
        f"{what} returns no {' or '.join(each.output for each in asked)} for a batch of {batch}: "
        f"{_listed([tensors[place] for place in places])}.",
        tip="Choose another --output-name or --task." if len(tensors) > 1 else None,
    )


def _place(output: str | int, tensors: list[tuple[str, Tensor]], what: str) -> int:
    names = [name for name, _ in tensors]
    if str(output) in names:
        return names.index(str(output))
    if str(output).isdecimal() and int(output) < len(tensors):
        return int(output)
    raise InputError(
        f"{what} has no output {str(output)!r}.", tip=f"Its outputs: {_listed(tensors)}."
    )


def _listed(tensors: list[tuple[str, Tensor]]) -> str:
    shapes = [f"{name or 'output'} {tuple(tensor.shape)}" for name, tensor in tensors]
    return ", ".join(shapes) or "no tensor"


def _fits(task: Task, tensor: Tensor, batch: int) -> bool:
    batched = tensor.dim() >= 2 and tensor.shape[0] == batch
    return batched and _is_numeric(tensor) and task.fits(tensor)


def _is_numeric(tensor: Tensor) -> bool:
    return tensor.dtype.is_floating_point or tensor.dtype == torch.uint8


def take_output(choice: OutputChoice, *, what: str) -> Callable[[Any, int], Tensor]:
    """A function (returned, batch) -> the chosen output as float32, in the shape of its task.

    It raises RunError where a batch's output is not what the first one was.
    """
    task = TASKS[choice.task]

    def take(returned: Any, batch: int) -> Tensor:
        tensors = [tensor for _, tensor in named_tensors(returned)]
        tensor = tensors[choice.place] if choice.place < len(tensors) else None
        if tensor is None or not _fits(task, tensor, batch):
            shape = "nothing" if tensor is None else tuple(tensor.shape)
            raise RunError(f"{what} returned {shape} for a batch of {batch} images.")
        return task.taken(tensor).float()

    return take


def sums_to_one(output: Tensor) -> bool:
    """Whether the scores along axis 1 are probabilities: in [0, 1], summing to 1 (1e-2)."""
    if output.shape[1] < 2 or not torch.isfinite(output).all():
        return False
    in_range = bool((output >= -1e-4).all()) and bool((output <= 1 + 1e-2).all())
    total = output.sum(dim=1)
    return in_range and torch.allclose(total, torch.ones_like(total), atol=1e-2, rtol=0)


def is_share(output: Tensor) -> bool:
    """Whether every single score lies in [0, 1], as behind a sigmoid."""
    return bool(((output >= 0) & (output <= 1)).all())
