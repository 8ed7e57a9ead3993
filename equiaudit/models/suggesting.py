"""Which architecture of torchvision or timm a state dict fits, for the tip of a refusal.

Nets are built on the meta device, which holds shapes alone. A first net of each of the registries'
modules is compared by names; then all nets of the likeliest modules by names and shapes. The search
ends after `SECONDS`, so that it finds what it can and costs a refusal no more than that.
"""

from __future__ import annotations

import difflib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from equiaudit.errors import InputError
from equiaudit.models import zoo
from equiaudit.models.architectures import COUNTED, FEWEST
from equiaudit.models.fitting import likeliest_view

SECONDS = 20.0
_EXPANDED = 2
_SHARE = 0.6

Registry = Mapping[str, Sequence[str]]
"""Module of a registry -> the names of its nets, as `--arch` takes them."""


def suggested_architecture(
    state: Mapping[str, Tensor],
    arch: str | None,
    *,
    stated: str | None = None,
    now: Callable[[], float] = time.monotonic,
) -> str | None:
    """A sentence that names the architecture `state` fits, or the nearest; None where none is.

    What the file itself states (timm keeps "arch") is tried first, then the family of `arch`.
    """
    if len(state) < FEWEST:
        return None
    until = now() + SECONDS
    best, nearest = 0.0, ""
    for name in _candidates(state, arch, stated, lambda: now() > until):
        share = _share(_shapes_of(name), state)
        if share > best:
            best, nearest = share, name
        if share == 1 or now() > until:
            break
    if best == 1:
        return f"--arch {nearest} fits."
    return f"Nearest is --arch {nearest} ({best:.0%} of the tensors)." if best >= _SHARE else None


def _candidates(
    state: Mapping[str, Tensor], arch: str | None, stated: str | None, late: Callable[[], bool]
) -> Iterator[str]:
    if stated is not None:
        yield from (f"torchvision:{stated}", f"timm:{stated}")
    registries = [_torchvision_modules, _timm_modules]
    if arch is not None and arch.startswith("timm:"):
        registries.reverse()
    for registry in registries:
        modules = registry()
        family = next((names for names in modules.values() if arch in names), ())
        yield from sorted(family, key=lambda name: -_alike(name, str(arch)))
        yield from _likely(modules, state, late)


def _alike(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


def _likely(
    registry: Registry, state: Mapping[str, Tensor], late: Callable[[], bool]
) -> Iterator[str]:
    """The nets of the modules whose first net shares most names with `state`."""
    ranked: list[tuple[float, str]] = []
    for module, names in registry.items():
        if late():
            break
        own = _shapes_of(names[0])
        shared = len(likeliest_view(own, state).keys() & own.keys())
        ranked.append((shared / max(1, min(len(own), len(state))), module))
    ranked.sort(key=lambda each: -each[0])
    for share, module in ranked[:_EXPANDED]:
        yield from registry[module] if share > 0 else ()


def _share(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> float:
    """The share of tensors that agree; 1 also where only the number of classes differs."""
    view = likeliest_view(own, state)
    ours = {key for key in own if not key.endswith(COUNTED)}
    theirs = {key for key in view if not key.endswith(COUNTED)}
    if not ours:
        return 0.0
    agree = sum(view[key].shape == own[key].shape for key in ours & theirs)
    if ours == theirs and (agree == len(ours) or zoo.class_count(own, view) is not None):
        return 1.0
    return min(agree / len(ours | theirs), 0.99)


@lru_cache(maxsize=256)
def _shapes_of(arch: str) -> Mapping[str, Tensor]:
    try:
        with torch.device("meta"):
            return zoo.build_architecture(arch, ()).state_dict()
    except (InputError, RuntimeError, NotImplementedError):
        return {}


@lru_cache(maxsize=1)
def _torchvision_modules() -> Registry:
    from torchvision import models

    grouped: dict[str, list[str]] = {}
    for name in models.list_models():
        if not name.startswith("quantized_"):
            module = models.get_model_builder(name).__module__
            grouped.setdefault(module, []).append(f"torchvision:{name}")
    return grouped


@lru_cache(maxsize=1)
def _timm_modules() -> Registry:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        return {}
    named = {module: timm.list_models(module=module) for module in timm.list_modules()}
    return {module: [f"timm:{n}" for n in names] for module, names in named.items() if names}
