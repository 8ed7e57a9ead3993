"""equiaudit merge: one result from the shards of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.progress import observing
from equiaudit.cli.scan import conclude

_JUDGE = ("gate", "baseline", "require_baseline", "update_baseline", "strict")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "merge", flags=(*_JUDGE, "output", "format"))(merge)


def merge(
    call: Call,
    shards: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHARDS", help="Files that scan --shard wrote, or the folders they are in."
        ),
    ],
) -> Outcome:
    """Put the shards of a scan together: the reports and gates of one scan on one machine."""
    from equiaudit.api.merging import merge as run

    folder = call.settings.output or Path("reports", "merged")
    with observing(call.terminal) as observer:
        result = run(
            shards,
            gates=call.settings.gate,
            baseline=call.settings.baseline,
            require_baseline=call.settings.require_baseline,
            update_baseline=call.settings.update_baseline,
            output=folder,
            observer=observer,
        )
    return conclude(result, folder, call)
