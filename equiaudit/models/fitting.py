"""From the sets of weights of a checkpoint into a module, strictly.

Wrappers put words before the names of a net's tensors (`module.`, `model.`, `net._orig_mod.`) and
trainers keep losses and metrics beside it. The words are found by the net's own names. What is left
over is left out for a named reason, and said, or the weights do not fit.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.errors import InputError
from equiaudit.models.architectures import WRAPPER
from equiaudit.models.weights import (
    EMA,
    RAW,
    StateDict,
    Weights,
    ambiguous,
    is_average,
    said_of,
    short,
    unnamed_averages,
)

_SHOWN = 3
_PLAIN_WRAPPERS = re.compile(r"(?:module\.)*")
_PARTS = re.compile(r"(?:backbone|neck|head|cls_head|decode_head|classifier)\.")
_COUNTED_BY_TORCH = "num_batches_tracked"
_AVERAGED = "n_averaged"
_LIGHTNING_SWA = "StochasticWeightAveraging.average_model_state"
_COUNTERS = frozenset(
    {_AVERAGED, "total_ops", "total_params", "initted", "step", "num_updates", "decay"}
)
_NO_LETTER = re.compile(r"[^a-z0-9]+")
_REASONS = {
    "a loss": {"loss", "losses", "criterion", "criterions", "criteria", "perceptual", "lpips"},
    "a metric": {
        "metric", "metrics", "acc", "accuracy", "auroc", "auc", "f1", "iou", "miou", "jaccard",
        "dice", "precision", "recall", "specificity", "psnr", "ssim", "fid", "confmat", "mae",
        "mse", "rmse", "meter",
    },
}  # fmt: skip


class DoesNotFit(InputError):
    """No set of weights fits the net."""


@dataclass(frozen=True)
class _Fit:
    """Weights that hold all of a net under `prefix`."""

    weights: Weights
    prefix: str
    state: StateDict
    """By the net's own names."""
    rest: tuple[str, ...]
    """Names in the file that are not the net's."""

    updates: int | None
    """How many weights an AveragedModel has averaged; None for others."""

    @property
    def average(self) -> bool:
        named = self.weights.average or is_average(self.prefix)
        return named or self.updates is not None

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.weights.name, self.prefix.rstrip("."))))

    def reason(self, name: str) -> str | None:
        """Why `name` of the rest may be left out: what it is, or None."""
        return _reason(name[len(self.prefix) :] if name.startswith(self.prefix) else name)


def likeliest_view(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> StateDict:
    """The tensors of `state` by the names they have in `own`, under the prefix that most share."""
    views = [
        {name[len(prefix) :]: tensor for name, tensor in names.items() if name.startswith(prefix)}
        for names, prefix in _prefixed(own, state)
    ]
    views.append({_PARTS.sub("", name, count=1): tensor for name, tensor in state.items()})
    best = max(views, key=lambda view: len(view.keys() & own.keys()))
    return best if best.keys() & own.keys() else {}


def fit_weights(
    module: nn.Module,
    found: Sequence[Weights],
    *,
    saved: Any,
    wanted: str | None,
    what: str,
    arch: str,
) -> tuple[str, tuple[str, ...]]:
    """Load the set of `found` that fits `module` whole; its name where there was a choice.

    Args:
        wanted: "ema", "raw", or the key or prefix of one set; None takes averages before raw.

    Returns the name of the set, "" where no other fits, and what is worth saying.
    Raises InputError where none fits, counting and naming the keys that are missing,
    unexpected or of another shape, or where several fit equally.
    """
    own = module.state_dict()
    states = [each for each in found if not isinstance(each.value, nn.Module)]
    fits = [fit for each in states for fit in _fits(own, each)]
    kept = [fit for fit in fits if not _unexplained(fit, fits, wanted)]
    if not kept:
        raise _misfit(own, states, fits, wanted, what, arch)
    taken = _chosen(kept, wanted, what)
    if wanted is None and not taken.average:
        _refuse_lost_average(own, taken, states, saved, what, arch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.load_state_dict(taken.state, strict=False)
    others = [fit.name for fit in kept if fit is not taken]
    return taken.name if others else "", _notes(taken, fits, others)


def _fits(own: Mapping[str, Tensor], weights: Weights) -> list[_Fit]:
    assert not isinstance(weights.value, nn.Module)
    found = []
    for names, prefix in _prefixed(own, weights.value):
        state = {key: names[prefix + key] for key in own if prefix + key in names}
        if _is_whole(own, state):
            rest = tuple(
                n for n in names if not n.startswith(prefix) or n[len(prefix) :] not in own
            )
            found.append(_Fit(weights, prefix, state, rest, _updates(names, prefix)))
    return found or _in_parts(own, weights)


def _in_parts(own: Mapping[str, Tensor], weights: Weights) -> list[_Fit]:
    """The net of a toolbox that keeps the parts of a plain one as backbone and head."""
    assert not isinstance(weights.value, nn.Module)
    names = {_PARTS.sub("", name, count=1): name for name in weights.value}
    state = {key: weights.value[names[key]] for key in own if key in names}
    if len(names) < len(weights.value) or not _is_whole(own, state):
        return []
    rest = tuple(name for key, name in names.items() if key not in own)
    return [_Fit(weights, "", state, rest, None)]


def _prefixed(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> list[tuple[Mapping[str, Tensor], str]]:
    """The names without compilers' words, with each prefix some of the net's names have there."""
    names = _unwrapped(own, state)
    deepest = max((key.count(".") for key in own), default=0) + 1
    shared: Counter[str] = Counter()
    for name in names:
        for key in _endings(name, deepest):
            if key in own:
                shared[name[: len(name) - len(key)]] += 1
    return [(names, prefix) for prefix, _ in shared.most_common()]


def _endings(name: str, deepest: int) -> Iterable[str]:
    at = len(name)
    for _ in range(deepest):
        at = name.rfind(".", 0, at)
        yield name[at + 1 :]
        if at < 0:
            return


def _unwrapped(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if any(WRAPPER.search(key) for key in own):
        return state
    bare = {WRAPPER.sub("", name): tensor for name, tensor in state.items()}
    return bare if len(bare) == len(state) else state


def _is_whole(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    return all(
        key.endswith(_COUNTED_BY_TORCH) if key not in state else state[key].shape == tensor.shape
        for key, tensor in own.items()
    )


def _unexplained(fit: _Fit, fits: Sequence[_Fit], wanted: str | None) -> list[str]:
    """The names beside the net that have no reason to be left out."""
    if fit.prefix and wanted is not None and _is_prefix(fit, wanted):
        return []
    others = tuple(o.prefix for o in fits if o.weights is fit.weights and o.prefix != fit.prefix)
    whole = tuple(prefix for prefix in others if prefix)
    return [
        name
        for name in fit.rest
        if not (whole and name.startswith(whole))
        and not ("" in others and name in fit.state)
        and not fit.reason(name)
        and not (wanted == RAW and is_average(name.partition(".")[0]))
    ]


def _reason(name: str) -> str | None:
    if name.rpartition(".")[2] in _COUNTERS:
        return "a counter"
    words = set(_NO_LETTER.split(name.partition(".")[0].lower()))
    return next((reason for reason, known in _REASONS.items() if words & known), None)


def _is_prefix(fit: _Fit, wanted: str) -> bool:
    return wanted.rstrip(".") in (fit.name, fit.prefix.rstrip("."))


def _chosen(kept: Sequence[_Fit], wanted: str | None, what: str) -> _Fit:
    if wanted in (EMA, RAW):
        fitting = [fit for fit in kept if fit.average == (wanted == EMA)]
    elif wanted is not None:
        fitting = [fit for fit in kept if _is_prefix(fit, wanted) or wanted == fit.weights.name]
    else:
        fitting = [fit for fit in kept if fit.average] or list(kept)
    if not fitting:
        raise ambiguous(what, [fit.name for fit in kept], wanted)
    first, *others = fitting
    if not all(_same(first, other) for other in others):
        raise ambiguous(what, [fit.name for fit in fitting], wanted)
    if wanted is None and len(kept) > len(fitting) and first.weights.name.endswith(_LIGHTNING_SWA):
        raise InputError(
            f"{what} holds the running average of StochasticWeightAveraging beside weights;"
            " Lightning loads the weights, and keeps no batch statistics for the average.",
            tip="--weights raw takes what Lightning loads, --weights ema the average.",
        )
    if wanted is None and len(kept) > len(fitting) and first.updates == 0:
        raise InputError(
            f"{what} holds averaged weights ({short(first.name)!r}) that were never updated.",
            tip="--weights raw takes the others, --weights ema these.",
        )
    return first


def _same(first: _Fit, other: _Fit) -> bool:
    return all(torch.equal(first.state[key], other.state[key]) for key in first.state)


def _updates(names: Mapping[str, Tensor], prefix: str) -> int | None:
    counter = names.get(prefix.removesuffix("module.") + _AVERAGED)
    return None if counter is None or counter.numel() != 1 else int(counter)


def _refuse_lost_average(
    own: Mapping[str, Tensor],
    taken: _Fit,
    states: Sequence[Weights],
    saved: Any,
    what: str,
    arch: str,
) -> None:
    """Raw weights are not taken without a word where the file holds averages that do not fit."""
    tip = f"--weights raw takes {short(taken.name) or 'the others'!r}."
    for each in states:
        assert not isinstance(each.value, nn.Module)
        if each.average and len(each.value) * 2 >= len(own):
            said = "; ".join(_differences(own, each))
            raise InputError(
                f"{what} holds averaged weights ({short(each.name)!r}) that do not fit {arch}:"
                f" {said}.",
                tip=tip,
            )
    unnamed = unnamed_averages(saved)
    if unnamed is not None:
        raise InputError(
            f"{what} holds averaged weights ({short(unnamed)!r}) as a list without names, which"
            " cannot be put into a net.",
            tip=tip,
        )


def _misfit(
    own: Mapping[str, Tensor],
    states: Sequence[Weights],
    fits: Sequence[_Fit],
    wanted: str | None,
    what: str,
    arch: str,
) -> InputError:
    tip = "Give the --arch the weights were trained with."
    if fits:
        best = min(fits, key=lambda fit: len(_unexplained(fit, fits, wanted)))
        rest = _unexplained(best, fits, wanted)
        averaged = [name for name in rest if is_average(name.partition(".")[0])]
        if averaged and len(averaged) == len(rest):
            return InputError(
                f"{what} holds averaged weights ({short(averaged[0].partition('.')[0])!r}) that"
                f" do not fit {arch}.",
                tip=f"--weights raw takes {short(best.name) or 'the others'!r}.",
            )
        if best.prefix:
            tip = f"--weights {short(best.name)} takes what fits and leaves the rest out."
        said = _counted("not in the architecture", rest)
        return InputError(f"{what} does not fit {arch}: {said}.", tip=tip)
    likeliest = max(states, key=lambda each: _likeness(own, each))
    said = "; ".join(_differences(own, likeliest))
    return DoesNotFit(f"{what} does not fit {arch}: {said}.", tip=tip)


def _likeness(own: Mapping[str, Tensor], weights: Weights) -> tuple[int, int, bool]:
    assert not isinstance(weights.value, nn.Module)
    view = likeliest_view(own, weights.value)
    return len(view.keys() & own.keys()), len(weights.value), weights.average


def _differences(own: Mapping[str, Tensor], weights: Weights) -> list[str]:
    assert not isinstance(weights.value, nn.Module)
    state = likeliest_view(own, weights.value) or dict(weights.value)
    missing = [key for key in own if key not in state and not key.endswith(_COUNTED_BY_TORCH)]
    reshaped = [key for key in own if key in state and state[key].shape != own[key].shape]
    unexpected = [key for key in state if key not in own and not _reason(key)]
    differences = [
        _counted("missing from the file", missing),
        _counted("not in the architecture", unexpected),
        _counted("of another shape", [_shapes(key, state, own) for key in reshaped]),
    ]
    return [difference for difference in differences if difference]


def _counted(what: str, keys: Sequence[str]) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(map(short, keys[:_SHOWN]))}{rest})"


def _shapes(key: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    in_file, in_net = ("x".join(map(str, t.shape)) or "scalar" for t in (state[key], own[key]))
    return f"{short(key)} is {in_file} in the file and {in_net} in the architecture"


def _notes(taken: _Fit, fits: Sequence[_Fit], others: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if others:
        notes.append(said_of(taken.name, taken.average, others))
    elif taken.average:
        notes.append(f"the weights are an average ({short(taken.name) or _AVERAGED})")
    if not _PLAIN_WRAPPERS.fullmatch(taken.prefix) and not others:
        notes.append(f"names in the file without {short(taken.prefix)!r}")
    prefixes = tuple(fit.prefix for fit in fits if fit.weights is taken.weights and fit.prefix)
    aside = [name for name in taken.rest if not (prefixes and name.startswith(prefixes))]
    groups = Counter(name.partition(".")[0] for name in aside)
    if groups:
        listed = ", ".join(
            f"{short(name)} ({taken.reason(name) or 'beside the net'}, {count})"
            for name, count in list(groups.items())[:_SHOWN]
        )
        notes.append(f"left out of the file: {listed}")
    if taken.updates == 0:
        notes.append("the average was never updated (n_averaged is 0)")
    return tuple(notes)
