"""equiaudit compare: two results, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "compare", flags=())(compare)


def compare(
    call: Call,
    a: Annotated[Path, typer.Argument(metavar="A.json", help="A result.json, or its folder.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another, of the same images.")],
    format: Annotated[
        str, typer.Option(help="text, json, csv, md or html.", metavar="FORMAT")
    ] = "text",
) -> Outcome:
    """What B changes against A, image by image; each needs its samples.csv beside it."""
    from equiaudit.comparison import compare_files, render_comparison

    return Outcome(render_comparison(compare_files(a, b), format))
