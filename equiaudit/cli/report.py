"""equiaudit report: render a saved result in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.payload import deliver


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "report", flags=("output", "format", "images", "strict"), configurable=())(report)


def report(
    call: Call,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result.json, or the folder it is in.")
    ],
) -> Outcome:
    """Render a saved result in other formats: the first to stdout, with -o each to a file."""
    from equiaudit.results import load_result

    return Outcome(deliver(load_result(result), call, call.settings.output))
