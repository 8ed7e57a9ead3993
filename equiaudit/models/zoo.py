"""Architectures by name: torchvision, timm, or a factory in someone's own module."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from equiaudit.errors import InputError, first_line
from equiaudit.models.artefact import Artefact
from equiaudit.models.fitting import likeliest_view
from equiaudit.models.hashing import state_dict_sha256
from equiaudit.models.outline import architecture
from equiaudit.models.preprocess import Given, Hints, PreprocessFields
from equiaudit.models.processors import timm_hints

_MOST_CLASSES = 1 << 17  # a file of 512 KiB can state as many; the net is built before it is read

Build = Callable[..., nn.Module]


def load_zoo(spec: str) -> Artefact:
    """The pretrained model that `torchvision:NAME/WEIGHTS` or `timm:NAME` names, in eval mode.

    Raises InputError where the name is unknown or the weights cannot be fetched.
    """
    zoo, _, name = spec.partition(":")
    module, stated = _torchvision(name) if zoo == "torchvision" else _timm(name)
    return Artefact(
        name=spec,
        kind="module",
        sha256=state_dict_sha256(module.state_dict()),
        module=module.eval(),
        eager=True,
        hints=Hints(stated),
        notes=("put in eval mode",),
        class_names=_torchvision_classes(name) if zoo == "torchvision" else _timm_classes(module),
    )


def build_architecture(arch: str, states: Sequence[Mapping[str, Tensor]]) -> nn.Module:
    """The untrained module that `arch` names, its classifier as wide as the one in `states`.

    The first state dict that differs from the net in its classifier alone decides.

    Raises InputError where the name is unknown, or its module cannot be imported or fails.
    """
    source, name = architecture(arch)
    if source == "torchvision":
        return _as_wide_as(states, _torchvision_builder(name))
    if source == "timm":
        return _as_wide_as(states, _timm_builder(name))
    return _from_factory(source, name)


def _as_wide_as(states: Sequence[Mapping[str, Tensor]], build: Build) -> nn.Module:
    module = build()
    own = module.state_dict()
    widths = (class_count(own, likeliest_view(own, state)) for state in states)
    classes = next((width for width in widths if width is not None), None)
    return module if classes is None else build(num_classes=classes)


def class_count(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """The width of the classifier in `state` where only classifiers differ, else None."""
    pairs = [(own[key].shape, state[key].shape) for key in own if key in state]
    different = [(a, b) for a, b in pairs if a != b]
    widths = {(a[:1], b[:1]) for a, b in different}
    if len(widths) != 1 or any(a[1:] != b[1:] for a, b in different):
        return None
    classes = different[0][1][0]
    return classes if classes <= _MOST_CLASSES else None


def _torchvision_builder(name: str) -> Build:
    from torchvision import models

    _known(name, models.list_models(), "torchvision")
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    return _quietly(lambda **more: models.get_model(name, **options, **more), f"torchvision:{name}")


def _timm_builder(name: str) -> Build:
    timm = _import_timm()
    _known(name.partition(".")[0], timm.list_models(), "timm")
    return _quietly(
        lambda **more: timm.create_model(name, pretrained=False, **more), f"timm:{name}"
    )


def _quietly(build: Build, what: str) -> Build:
    def quiet(**options: Any) -> nn.Module:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return build(**options)
        except Exception as error:
            raise InputError(f"{what} cannot be built: {first_line(error)}.") from error

    return quiet


def _torchvision(spec: str) -> tuple[nn.Module, PreprocessFields]:
    from torchvision import models

    name, _, weights_name = spec.partition("/")
    _known(name, models.list_models(), "torchvision")
    choices = models.get_model_weights(name).__members__
    if weights_name not in choices:
        said = f"has no weights {weights_name!r}" if weights_name else "is untrained as named"
        raise InputError(
            f"torchvision:{name} {said}.",
            tip=f"Write torchvision:{name}/WEIGHTS with one of {', '.join(choices)}.",
        )
    weights = choices[weights_name]
    module = _fetched(lambda: models.get_model(name, weights=weights), f"torchvision:{spec}")
    return module, _torchvision_fields(weights)


def _torchvision_fields(weights: Any) -> PreprocessFields:
    """What the weights' own transform does, as far as it is resize, crop and normalise."""
    transform = weights.transforms()
    crop, resize = getattr(transform, "crop_size", None), getattr(transform, "resize_size", None)
    values = {
        "size": (crop[0], crop[-1]) if crop else None,
        "resize": None if not resize else resize[0] if len(resize) == 1 else tuple(resize),
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": str(transform.interpolation.value),
    }
    source = f"torchvision weights {weights}"
    return {key: Given(value, source) for key, value in values.items() if value is not None}


def _torchvision_classes(spec: str) -> tuple[str, ...] | None:
    from torchvision import models

    name, _, weights_name = spec.partition("/")
    categories = models.get_model_weights(name)[weights_name].meta.get("categories")
    return tuple(categories) if categories else None


def _timm_classes(module: nn.Module) -> tuple[str, ...] | None:
    """Of nets whose classes are those of a part of ImageNet."""
    data = importlib.import_module("timm.data")
    subset = data.infer_imagenet_subset(module)
    return tuple(data.ImageNetInfo(subset).label_descriptions()) if subset else None


def _timm(name: str) -> tuple[nn.Module, PreprocessFields]:
    timm = _import_timm()
    _known(name.partition(".")[0], timm.list_models(), "timm")
    module = _fetched(lambda: timm.create_model(name, pretrained=True), f"timm:{name}")
    return module, module_hints(module).stated


def module_hints(module: nn.Module) -> Hints:
    """What a timm model says of its own preprocessing; nothing for other modules."""
    config = getattr(module, "pretrained_cfg", None)
    return timm_hints(config, "timm pretrained_cfg") if isinstance(config, dict) else Hints()


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise InputError("timm is not installed.", tip="pip install 'equiaudit[timm]'") from error


def _known(name: str, names: list[str], zoo: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        tip = f"Did you mean {' or '.join(near)}?" if near else None
        raise InputError(f"{zoo} has no model {name!r}.", tip=tip)


def _fetched(build: Callable[[], nn.Module], what: str) -> nn.Module:
    try:
        return build()
    except Exception as error:  # network, cache and hub errors share no base class
        raise InputError(
            f"The weights of {what} cannot be fetched: {first_line(error)}.",
            tip="Check the name and the connection, or give a file of weights and --arch.",
        ) from error


def _from_factory(module_name: str, factory_name: str) -> nn.Module:
    arch = f"{module_name}:{factory_name}"
    with own_modules():
        factory = _imported(module_name, factory_name, arch)
        try:
            module = factory()
        except Exception as error:
            raise InputError(
                f"--arch {arch} failed: {type(error).__name__}: {first_line(error)}.",
                tip="The factory is called without arguments.",
            ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"--arch {arch} returned {type(module).__name__}, not a torch module.")
    return module


def _imported(module_name: str, factory_name: str, arch: str) -> Any:
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"--arch {arch}: {module_name} cannot be imported: {first_line(error)}.",
            tip="Modules are found in the current folder and on PYTHONPATH.",
        ) from error
    for attribute in factory_name.split("."):
        found = getattr(found, attribute, None)
    if not callable(found):
        raise InputError(f"--arch {arch}: {module_name} has no factory {factory_name!r}.")
    return found


@contextmanager
def own_modules() -> Iterator[None]:
    """Imports also find modules in the current folder; sys.path is put back afterwards."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
