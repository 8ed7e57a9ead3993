"""equiaudit verify: is this model exactly equivariant?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.inspect import (
    LAYING_FLAGS,
    MODEL_FLAGS,
    FormatOption,
    ModelArgument,
    checked_format,
    model_settings,
    page,
)
from equiaudit.cli.progress import waiting
from equiaudit.repair.options import Verifying

_PICTURES = 8


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    flags = (*MODEL_FLAGS, *LAYING_FLAGS, "limit", "seed", "output")
    verb(app, "verify", flags=flags, groups=(Verifying,))(verify)


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
    with waiting(call.terminal, "verifying"):
        found = run(
            model,
            data,
            against=against,
            limit=settings.limit or _PICTURES,
            seed=settings.seed,
            output=settings.output,
            **call.options,
            **model_settings(settings),
            **({} if data is None else laying),
        )
    if settings.output is not None:
        call.terminal.say(f"Wrote {Path(settings.output) / 'verification.json'}")
    from equiaudit.report.repair import render_verification

    text = render_verification(found, form, **page(call))
    return Outcome(text, 0 if found.passed else 1)
