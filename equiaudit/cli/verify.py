"""equiaudit verify: is this model exactly equivariant?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.fix_options import LAYING_FLAGS, parsed_positions
from equiaudit.cli.inspect import (
    MODEL_FLAGS,
    FormatOption,
    ModelArgument,
    checked_format,
    model_settings,
    page,
)

__all__ = ["register"]

_PICTURES = 8


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "verify", flags=(*MODEL_FLAGS, *LAYING_FLAGS, "limit", "seed", "output"))(verify)


def verify(
    call: Call,
    model: ModelArgument,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="Images to verify on (8, or --limit N), besides the synthetic set."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The unmodified model, as a control.", metavar="MODEL")
    ] = None,
    positions: Annotated[
        list[str] | None,
        typer.Option(
            help="As for fix: an output that holds boxes or keypoints, in px or shares, or none.",
            metavar="OUTPUT=KIND[:UNIT]",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="About how long to go on.", metavar="S", min=0.0)
    ] = 60.0,
    format: FormatOption = "text",
) -> Outcome:
    """Compare the outputs of shifted images over every phase: bits, errors, labels.

    Every output counts: maps and positions have to move with the image, the others to stay.

    Exit code 0 when it verified, 1 when it did not. With -o DIR the record is written to
    DIR/verification.json.
    """
    form = checked_format(format)
    if data is None:
        call.refuse(
            (*LAYING_FLAGS, "limit"),
            "is about the images of DATA",
            tip="Name them, or leave it out.",
        )
    from equiaudit.api import verify as run

    settings = call.settings
    laying = {name: getattr(settings, name) for name in LAYING_FLAGS}
    found = run(
        model,
        data,
        against=against,
        positions=parsed_positions(positions or []),
        limit=settings.limit or _PICTURES,
        seed=settings.seed,
        seconds=seconds,
        output=settings.output,
        **model_settings(settings),
        **({} if data is None else laying),
    )
    if settings.output is not None:
        call.terminal.say(f"Wrote {Path(settings.output) / 'verification.json'}")
    from equiaudit.report.repair import render_verification

    text = render_verification(found, form, **page(call))
    return Outcome(text, 0 if found.passed else 1)
