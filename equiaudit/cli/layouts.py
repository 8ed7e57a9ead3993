"""equiaudit layouts: which ways to lay out data are read, with a picture of each."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "layouts", flags=())(layouts)


def layouts(
    call: Call,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only the layouts of that name.")
    ] = None,
) -> Outcome:
    """List the layouts of DATA that are known, each with a picture."""
    from equiaudit.data.layouts import ALL
    from equiaudit.errors import InputError

    shown = [layout for layout in ALL if name in (None, layout.name)]
    if not shown:
        known = ", ".join(dict.fromkeys(layout.name for layout in ALL))
        raise InputError(f"There is no layout {name!r}.", tip=f"Known are {known}.")
    lines = []
    for kind, group in groupby(shown, key=lambda layout: layout.kind):
        lines.append(f"{kind}\n")
        for layout in group:
            lines += [f"  {layout.name}", textwrap.indent(layout.looks, "      ")]
            lines += [
                textwrap.fill(layout.assumed, 76, initial_indent="    ", subsequent_indent="    ")
            ]
            lines.append("")
    return Outcome("\n".join(lines))
