"""Which of the sets of weights in a checkpoint is the model's.

Training frameworks keep a moving average of the weights beside the raw ones. What is deployed is
the average, and loaders take it: timm `state_dict_ema` and `model_ema`, Ultralytics `ema`, Real-
ESRGAN `params_ema`. So does this one, and says so. Two sets of the same rank are refused, as are
averages that do not fit where raw weights do: the caller has to choose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.errors import InputError
from equiaudit.models.pickled_weights import DEEPEST, NOT_WEIGHTS

StateDict = dict[str, Tensor]

EMA, RAW = "ema", "raw"
_MOST = 64
_CLAIM = 1 << 20  # bytes a tensor may claim by repeating what the file holds
_LONGEST_NAME = 60
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_AVERAGE = re.compile(
    r"(?:^|[^a-z])(?:ema(?:model|net)?|swa|averaged?|avg|shadow|polyak)(?:[^a-z]|$)"
)
# Lightning's WeightAveraging puts the average in the place of the model's own weights.
_SWAPPED = frozenset({"current_model_state", "averaging_state"})


@dataclass(frozen=True)
class Weights:
    """A state dict or a whole module in what was saved."""

    name: str
    """The keys that lead to it, "ema.module"; "" where it is all that was saved."""
    value: Mapping[str, Tensor] | nn.Module
    average: bool
    """Whether it is an average over training, by the names of its keys."""


def found_weights(saved: Any, *, what: str) -> list[Weights]:
    """Every state dict and module in what was saved, optimizers and schedules apart.

    Raises InputError where there is none, or a tensor is no array of numbers the file holds.
    """
    found = []
    for path, value in _walk(saved, (), set()):
        if isinstance(value, nn.Module):
            found.append(Weights(".".join(path), value, is_average(".".join(path))))
        else:
            _check_tensors(value, what)
            found.append(Weights(".".join(path), value, _holds_average(path, saved)))
        if len(found) > _MOST:
            raise InputError(f"{what} holds more than {_MOST} sets of weights.")
    if not found and _is_optimizer(saved):
        raise InputError(
            f"{what} holds the state of an optimizer and no weights.",
            tip="Give the file of weights that was saved with it.",
        )
    if not found:
        raise InputError(
            f"{what} holds no state dict (found {_described(saved)}).",
            tip='Save the weights with torch.save(model.state_dict(), "weights.pt").',
        )
    return found


def _walk(value: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, nn.Module) or _is_state_dict(value):
        yield path, value
        return
    if not isinstance(value, Mapping) or "param_groups" in value or len(path) >= DEEPEST:
        return
    for key, inner in value.items():
        if isinstance(key, str) and id(inner) not in seen and not NOT_WEIGHTS.search(key.lower()):
            if isinstance(inner, Mapping | nn.Module):
                seen.add(id(inner))
            yield from _walk(inner, (*path, key), seen)


def _is_state_dict(saved: Any) -> bool:
    return (
        isinstance(saved, Mapping)
        and bool(saved)
        and all(isinstance(key, str) for key in saved)
        and all(isinstance(value, Tensor) for value in saved.values())
    )


def _is_optimizer(saved: Any) -> bool:
    if not isinstance(saved, Mapping):
        return False
    return any(
        isinstance(each, Mapping) and "param_groups" in each for each in (saved, *saved.values())
    )


def _holds_average(path: tuple[str, ...], saved: Any) -> bool:
    if path[-1:] == ("state_dict",):
        holder = saved
        for key in path[:-1]:
            holder = holder[key]
        if holder.keys() >= _SWAPPED:
            return True
    return is_average(".".join(path))


def is_average(name: str) -> bool:
    """Whether keys or a prefix name an average over training: ema, swa, averaged_model."""
    return _AVERAGE.search(_CAMEL.sub("_", name[:1000]).lower()) is not None


def unnamed_averages(saved: Any) -> str | None:
    """The key of averages kept as a list without names, which cannot be read, or None."""
    if not isinstance(saved, Mapping):
        return None
    for key, value in saved.items():
        if not isinstance(key, str) or not is_average(key):
            continue
        lists = value.values() if isinstance(value, Mapping) else [value]
        if any(_is_list_of_tensors(item) for item in lists):
            return key
    return None


def _is_list_of_tensors(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and len(value) > 1
    return listed and all(isinstance(item, Tensor) for item in value)


def choose_module(
    found: Sequence[Weights], wanted: str | None, *, what: str
) -> tuple[Weights, str] | None:
    """The whole module to take of those saved, and what to say of it; None where there is none.

    Raises InputError where several are equally likely, or none is the one `wanted`.
    """
    modules = [each for each in found if isinstance(each.value, nn.Module)]
    if not modules:
        return None
    if wanted in (EMA, RAW):
        fitting = [each for each in modules if each.average == (wanted == EMA)]
    elif wanted is not None:
        fitting = [each for each in modules if each.name == wanted]
    else:
        fitting = [each for each in modules if each.average] or modules
    if len(fitting) != 1:
        raise ambiguous(what, [each.name for each in (fitting or modules)], wanted)
    (taken,) = fitting
    others = [each.name for each in modules if each is not taken]
    return taken, said_of(taken.name, taken.average, others) if others else ""


def ambiguous(what: str, names: Sequence[str], wanted: str | None) -> InputError:
    """The refusal of a choice between `names`, or of a name that is none of them."""
    listed = ", ".join(repr(short(name)) for name in names)
    choice = " or ".join(f"--weights {short(name)}" for name in names[:4] if name)
    if wanted is not None and len(names) != 1:
        said = f"has no single set of weights {wanted!r} that fits; it holds {listed}."
    elif wanted is not None:
        said = f"has no weights {wanted!r}; it holds {listed}."
    else:
        said = f"holds {len(names)} sets of weights that fit equally well: {listed}."
    return InputError(f"{what} {said}", tip=f"Say which: {choice}." if choice else None)


def said_of(name: str, average: bool, others: Sequence[str]) -> str:
    """The note on the weights taken, with the way to the others."""
    kind = "averaged weights" if average else "weights"
    rest = ", ".join(repr(short(other)) for other in others)
    return f"{kind} {short(name)!r} taken, not {rest} (--weights {RAW if average else EMA}|KEY)"


def _check_tensors(state: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise InputError(
                f"{short(name)} in {what} is not a plain tensor.",
                tip="Save dense tensors of the CPU.",
            )
        claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if claimed > max(held, _CLAIM):
            raise InputError(
                f"{short(name)} in {what} claims {claimed:,} bytes, and the file holds {held:,}.",
                tip="Save it again with tensor.contiguous().",
            )


def _described(saved: Any) -> str:
    if isinstance(saved, Mapping):
        keys = ", ".join(short(str(key)) for key in list(saved)[:5])
        return f"a dict with the keys {keys}" if keys else "an empty dict"
    return f"an object of type {type(saved).__name__}"


def short(name: str) -> str:
    """`name`, cut where it is longer than a line can take."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
