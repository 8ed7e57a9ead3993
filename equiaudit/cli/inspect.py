"""equiaudit inspect: every op that samples, pads or flattens, and on images which one breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.progress import waiting
from equiaudit.cli.spelling import fixed_name, spelled, told_flags
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
LAYING_FLAGS = (
    *("layout", "split", "classes", "ignore_index", "no_mask"),
    *("mask_offset", "mask_threshold", "mask_orientation"),
)
"""The settings that say how images and masks lie."""
_PICTURES = 4
ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model file, torchvision:NAME/WEIGHTS or timm:NAME."),
]
FormatOption = Annotated[str, typer.Option(help="text or json.", metavar="FORMAT")]


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    read = tuple(name for name in MODEL_FLAGS if name != "threshold")
    verb(app, "inspect", flags=(*read, *LAYING_FLAGS, "limit", "seed", "output"))(inspect)


def inspect(
    call: Call,
    model: ModelArgument,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Images (4, or --limit N) on which ops are ranked by their errors."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="A line for each op, by the names --only takes.")
    ] = False,
    format: FormatOption = "text",
) -> Outcome:
    """Say what each op does to shift equivariance, and whether `fix` can make it exact.

    With --data also how much error enters at each op of these images and reaches the output, and
    what fixing it alone, or all up to it, would leave. With -o DIR that is written to
    DIR/inspection.json and DIR/inspection.html.
    """
    form = checked_format(format)
    if data is None:
        call.refuse(
            (*LAYING_FLAGS, "limit", "seed", "output"),
            "is about the images of --data",
            tip="Add --data DIR, or leave it out.",
        )
    from equiaudit.api import inspect as run

    settings = call.settings
    with waiting(call.terminal, "inspecting"):
        found = run(
            model,
            data,
            limit=settings.limit or _PICTURES,
            seed=settings.seed,
            output=settings.output if data else None,
            **model_settings(settings),
            **({name: getattr(settings, name) for name in LAYING_FLAGS} if data else {}),
        )
    if data is not None and settings.output is not None:
        call.terminal.say(f"Wrote {Path(settings.output) / 'inspection.html'}")
    from equiaudit.report.repair import render_inspection

    text = render_inspection(found, form, explain=explain, **page(call))
    if not found.ops and not found.refusals:
        return Outcome(text)
    return Outcome(text, next=_next(model, data, found.convertible, call))


def _next(model: str, data: str | None, fixable: bool, call: Call) -> str:
    """The fix of a net that can be converted; of another one by a method that needs no graph."""
    told = told_flags(call, (*MODEL_FLAGS, *(LAYING_FLAGS if data else ())))
    fixed = fixed_name(model, onnx=Path(model).suffix.lower() == ".onnx")
    how = () if fixable else ("--method", "canonical")
    return spelled(("equiaudit", "fix", model, "-o", fixed, *how, "--data", data or "DIR", *told))


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
