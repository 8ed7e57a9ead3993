"""`load_model`, and the settings of a model that every verb takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict, Unpack

from equiaudit.errors import InputError
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.data import Place
    from equiaudit.models import Model, Outline
    from equiaudit.models.preprocess import PreprocessFields
    from equiaudit.results.repair import FixReport


class ModelSettings(TypedDict, total=False):
    """How a model is loaded; each key is optional."""

    arch: str | None
    """`torchvision:NAME`, `timm:NAME` or `pkg.module:factory`, for a state dict."""
    weights: str | None
    """`ema`, `raw`, or the key or prefix of one of several sets of weights in a checkpoint."""
    trust: bool
    """Allow files that run code when they are unpickled."""
    size: int | tuple[int, int] | None
    """(H, W) of the window the model sees, px; one number is a square."""
    mean: Sequence[float] | None
    """Per channel, RGB order, for pixels in [0, 1]."""
    std: Sequence[float] | None
    image_range: tuple[float, float] | None
    """(black, white) of images with more than 8 bits a channel."""
    preprocess: str | Path | None
    """A TOML file with the whole preprocessing."""
    task: str
    threshold: float | None
    """Probability above which the tasks binary and multilabel say yes; 0.5 unless said."""
    output_name: str | None
    """Which output tensor counts, where the model has several."""
    output_layout: str
    """Where its channels are, where it is a map: auto, NCHW or NHWC."""
    input: Sequence[str]
    """NAME=VALUE for each input of an ONNX file that is not the image; a number, or zeros."""
    detector: str | None
    """How boxes are made of the outputs: a preset, a TOML file, or `pkg.module:function`."""
    device: str
    backend: str
    stride: tuple[int, int] | None
    """Total stride, where it cannot be found from the model."""


@dataclass(frozen=True)
class Prepared:
    """A model that was named, checked as far as that needs no torch."""

    model: Model | Outline
    options: Mapping[str, Any]
    """As `equiaudit.models.load` takes them."""

    def load(self) -> Model:
        """The model, in eval mode."""
        from equiaudit.models import Outline, load

        return load(self.model, **self.options) if isinstance(self.model, Outline) else self.model


def prepare(
    model: str | Path | nn.Module | Model,
    *,
    normalisation: bool = True,
    lent: PreprocessFields | None = None,
    **settings: Unpack[ModelSettings],
) -> Prepared:
    """`load_model` up to where torch is needed; the same InputError where that comes to one.

    What neither `settings` nor the model say is taken from what is `lent`.
    """
    from equiaudit.models import Model, PreprocessOverrides, foreseen

    if isinstance(model, Model):
        return Prepared(model, {})
    if not isinstance(model, str | Path) and not hasattr(model, "state_dict"):
        raise InputError(
            f"A model is a path, a name or a torch.nn.Module, not {type(model).__name__}."
        )
    named: dict[str, Any] = dict(settings)
    preprocess = PreprocessOverrides(
        size=_sides(named.pop("size", None)),
        mean=_floats("mean R,G,B", named.pop("mean", None)),
        std=_floats("std R,G,B", named.pop("std", None)),
        image_range=_bounds(named.pop("image_range", None)),
        file=as_path(named.pop("preprocess", None)),
        lent=lent or {},
    )
    output = named.pop("output_name", None)
    named["inputs"] = _inputs(named.pop("input", ()))
    named |= {"preprocess": preprocess, "normalisation": normalisation}
    early = {
        name: named.pop(name) for name in ("arch", "trust", "weights", "inputs") if name in named
    }
    outline = foreseen(
        model,
        **early,
        backend=named.get("backend", "auto"),
        task=named.get("task", "auto"),
        preprocess=preprocess,
        normalisation=normalisation,
    )
    return Prepared(outline, named | {"output": output})


def lent_by(
    model: str | Path | nn.Module | Model, **settings: Unpack[ModelSettings]
) -> PreprocessFields:
    """What the file of `model` says that holds for another one of the same images."""
    from equiaudit.models.outline import outlined
    from equiaudit.models.preprocess import Hints, lendable

    if not isinstance(model, str | Path):
        return {}
    named: dict[str, Any] = {k: settings[k] for k in ("arch", "trust", "weights") if k in settings}  # type: ignore[literal-required]
    found = outlined(model, inputs=_inputs(settings.get("input", ())), **named)
    return lendable(found.path, found.hints or Hints())


def load_model(
    model: str | Path | nn.Module | Model,
    *,
    normalisation: bool = True,
    **settings: Unpack[ModelSettings],
) -> Model:
    """Load any supported model, in eval mode, with its preprocessing.

    `model` is a path, `torchvision:NAME/WEIGHTS`, `timm:NAME` or a module. Without
    `normalisation`, for work that reads no images, mean and std need not be known. Raises
    InputError in one sentence for a file that is not a model, needs `arch` or `trust`, or
    whose preprocessing is not known.
    """
    return prepare(model, normalisation=normalisation, **settings).load()


def fixed_module(report: FixReport) -> nn.Module:
    """The net that `fix` wrote, in eval mode."""
    if report.outcome != "written" or report.output is None:
        raise InputError(f"Nothing that verified was written: the outcome is {report.outcome!r}.")
    module = load_model(report.output, normalisation=False).module
    if module is None:
        raise InputError(
            f"{report.output} is an ONNX file, which is no torch module.",
            tip="Write .pt, .pt2 or .safetensors.",
        )
    return module


def require_segmenter(model: Model) -> None:
    """A sequence of sliding windows follows a defect through maps."""
    from equiaudit.shifts.sliding import CAPS

    if CAPS not in TASKS[model.task].protocols:
        raise InputError(
            f"{model.name} returns {model.task} outputs, and the caps protocol follows a defect"
            " through segmentations.",
            tip="Name a segmentation output with --output-name, or give --task segmentation.",
        )


def _inputs(texts: str | Sequence[str]) -> dict[str, str]:
    pairs = [str(item).partition("=") for item in listed(texts)]
    return {name: value for name, _, value in pairs}


def as_path(value: str | Path | None) -> Path | None:
    """A path, or nothing."""
    return None if value is None else Path(value)


def as_place(value: str | Path | Place) -> Place:
    """A path, or what a URL leads to; to be opened once, as a remote one is listed then."""
    from equiaudit.data import place_of

    return place_of(value)


def listed(value: str | Sequence[str]) -> tuple[str, ...]:
    """Several words; a single one is no list of letters."""
    return (value,) if isinstance(value, str) else tuple(value)


def _sides(value: object) -> tuple[int, int] | None:
    """(H, W); one side is that of a square. How many there are is checked with the rest."""
    if value is None:
        return None
    sides = [value, value] if isinstance(value, SupportsIndex) else value
    try:
        if isinstance(sides, str | bytes):
            raise TypeError
        return tuple(index(side) for side in sides)  # type: ignore[return-value, attr-defined]
    except TypeError:
        raise InputError(
            f"The size {value!r} is not two whole numbers.", tip="Give --size HxW."
        ) from None


def _bounds(value: object) -> tuple[float, float] | None:
    numbers = _floats("image-range LO,HI", value)
    if numbers is not None and len(numbers) != 2:
        raise InputError(f"The image range {value!r} is not two numbers, black and white.")
    return None if numbers is None else (numbers[0], numbers[1])


def _floats(flag: str, values: object) -> tuple[float, ...] | None:
    if values is None:
        return None
    try:
        if isinstance(values, str | bytes):
            raise TypeError
        return tuple(float(value) for value in values)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(
            f"The {flag.partition(' ')[0]} {values!r} is not a list of numbers.",
            tip=f"Give --{flag}.",
        ) from None
