"""The application: its verbs, and what to make of a command line that names none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from equiaudit._version import __version__
from equiaudit.cli import (
    compare,
    demo,
    doctor,
    fix,
    gate,
    inspect,
    layouts,
    merge,
    report,
    scan,
    verify,
)
from equiaudit.cli.failures import settle, usage_error
from equiaudit.cli.terminal import Terminal

app = typer.Typer(
    help="Audit vision models for shift consistency, and repair them.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (scan, merge, fix, verify, inspect, compare, gate, report, demo, layouts, doctor):
    module.register(app)


def run(argv: Sequence[str] | None = None) -> int:
    """Parse `argv` and run the verb it names; returns the exit code, raises nothing."""
    return settle(lambda: _invoke(argv), Terminal())


def _invoke(argv: Sequence[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(argv, prog_name="equiaudit", standalone_mode=False)
    except SystemExit:
        # A verb's own is settled before it gets here: this is how typer answers a reader that
        # closed the pipe while it printed help, and such a reader has seen enough.
        return 0
    except Exception as error:
        raise usage_error(error) or error from None
    return int(code or 0)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"equiaudit {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 ran, 1 a gate failed, 2 input, 3 could not finish, "
    "4 inconclusive (--strict), 5 nothing to do, 130 interrupted."
)
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Audit vision models for shift consistency, and repair them."""
