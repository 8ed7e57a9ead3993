"""equiaudit inspect: every op that samples, pads or flattens, without data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.config import Settings

MODEL_FLAGS = (
    "arch",
    "weights",
    "trust",
    "size",
    "mean",
    "std",
    "image_range",
    "preprocess",
    "task",
    "threshold",
    "output_name",
    "output_layout",
    "input",
    "detector",
    "stride",
    "device",
    "backend",
)
ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model file, torchvision:NAME/WEIGHTS or timm:NAME."),
]
FormatOption = Annotated[str, typer.Option(help="text or json.", metavar="FORMAT")]


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    read = tuple(name for name in MODEL_FLAGS if name != "threshold")
    verb(app, "inspect", flags=read)(inspect)


def inspect(call: Call, model: ModelArgument, format: FormatOption = "text") -> Outcome:
    """Say what each op does to shift equivariance, and whether `fix` can make it exact."""
    form = checked_format(format)
    from equiaudit.api import inspect as run

    found = run(model, **model_settings(call.settings))
    from equiaudit.report.repair import render_inspection

    return Outcome(render_inspection(found, form, **page(call)))


def page(call: Call) -> dict[str, Any]:
    """Colour and width of stdout."""
    return {"color": call.terminal.color, "width": call.terminal.width}


def model_settings(settings: Settings) -> dict[str, Any]:
    """The settings that say how a model is loaded."""
    return {name: getattr(settings, name) for name in MODEL_FLAGS}


def checked_format(name: str) -> Any:
    """`name`, if it is one of the formats of these verbs."""
    from equiaudit.errors import InputError

    if name not in ("text", "json"):
        raise InputError(f"There is no format {name!r} here.", tip="Take text or json.")
    return name
