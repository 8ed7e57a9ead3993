"""Which backend a scan runs on, where it is left to choose."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.api.loading import ModelSettings, load_model
from equiaudit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.audit.options import ScanOptions
    from equiaudit.audit.units import Crew
    from equiaudit.data import Dataset
    from equiaudit.models import Model
    from equiaudit.models.backends import Choice


def is_left_to_choose(model: object, backend: str | None) -> bool:
    """Whether a scan may run `model` otherwise than it was loaded."""
    from equiaudit.models import Model

    return backend in (None, "auto") and not isinstance(model, Model)


def choice_for(
    model: Model, dataset: Dataset, options: ScanOptions, folder: Path | None, *, automatic: bool
) -> Choice:
    """How `model` is run on `dataset`: as it is, or where that is `automatic` the fastest way."""
    from equiaudit.audit.backend import as_it_is, pick

    if not automatic:
        return as_it_is(model, options)
    return pick(model, dataset, options, folder)


def crew_for(
    engine: str, address: str, model: str | Path | nn.Module | Model, settings: ModelSettings
) -> Crew | None:
    """The workers of a Ray cluster where `engine` is "ray", else none.

    InputError where Ray is not installed, or `model` is nothing that a worker could load.
    """
    if engine == "local":
        return None
    if engine != "ray":
        raise InputError(f"There is no engine {engine!r}.", tip="Engines are local and ray.")
    if not isinstance(model, str | Path):
        raise InputError(
            "Ray's workers load the model themselves.", tip="Give a path, or a name of a zoo."
        )
    from equiaudit.audit.cluster import RayCrew

    return RayCrew(address, partial(_load_again, _absolute(model), _absolute_settings(settings)))


def _load_again(model: str, settings: dict[str, Any], device: str) -> Model:
    return load_model(model, **{**settings, "device": device})  # type: ignore[typeddict-item]


def _absolute(model: str | Path) -> str:
    """A path that holds in another working directory; names of a zoo are as they are."""
    return str(Path(model).resolve()) if Path(model).exists() else str(model)


def _absolute_settings(settings: ModelSettings) -> dict[str, Any]:
    file = settings.get("preprocess")
    own: dict[str, Any] = dict(settings)
    return own if file is None else own | {"preprocess": str(Path(file).resolve())}
