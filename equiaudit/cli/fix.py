"""equiaudit fix: convert, verify, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.inspect import (
    MODEL_FLAGS,
    FormatOption,
    ModelArgument,
    checked_format,
    model_settings,
    page,
)
from equiaudit.cli.progress import observing
from equiaudit.errors import InputError

if TYPE_CHECKING:
    from equiaudit.results.repair import FixReport

__all__ = ["exit_code", "register"]

_FLAGS = (*MODEL_FLAGS, "labels", "limit", "max_shift", "offsets", "seed")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "fix", flags=_FLAGS)(fix)


def fix(
    call: Call,
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write: .pt, .pt2, .onnx, or .safetensors with graph and config beside.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="mass rewrites the net; canonical rolls the input of the net as it is.",
            metavar="NAME",
        ),
    ] = "mass",
    select: Annotated[
        str,
        typer.Option(help="Origins from the features or from the input.", metavar="NAME"),
    ] = "features",
    only: Annotated[
        str | None,
        typer.Option(help="Convert only modules or nodes of this name.", metavar="GLOB"),
    ] = None,
    skip: Annotated[
        str | None, typer.Option(help="Leave these modules or nodes as they are.", metavar="GLOB")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = (
        False
    ),
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each kind of op becomes, and why.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Images: verify on some, and scan both models.", metavar="DIR"),
    ] = None,
    max_accuracy_drop: Annotated[
        str | None,
        typer.Option(help="Most unshifted accuracy to lose on --data, as 0.5% or 0.005."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="About how long each verification goes on.", min=0.0)
    ] = 20.0,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder for verification.json and fix.json. Default reports/<OUT>-fix.",
            metavar="DIR",
        ),
    ] = None,
    format: FormatOption = "text",
) -> Outcome:
    """Convert to exactly equivariant sampling, verify every phase, and write what verified.

    Exit code 1 and OUT.unverified when it did not verify, 5 when there is nothing to fix or
    the conversion is refused.
    """
    form = checked_format(format)
    most = None if max_accuracy_drop is None else _share(max_accuracy_drop)
    if most is not None and data is None:
        raise InputError("--max-accuracy-drop needs images.", tip="Add --data DIR.")
    if select not in ("features", "input"):
        raise InputError(f"--select is {select!r}.", tip="It is features or input.")
    from equiaudit.api import fix as run
    from equiaudit.report.repair import render_fix

    settings = call.settings
    folder = report or (None if output is None or dry_run else _default_folder(output))
    with observing(call.terminal) as observer:
        found = run(
            model,
            output,
            method=method,
            select=select,  # type: ignore[arg-type]
            only=only,
            skip=skip,
            dry_run=dry_run,
            data=data,
            labels=settings.labels,
            limit=settings.limit,
            max_shift=settings.max_shift,
            offsets=settings.offsets,
            seed=settings.seed,
            max_accuracy_drop=most,
            seconds=seconds,
            report=folder,
            observer=observer,
            **model_settings(settings),
        )
    if folder is not None:
        call.terminal.say(f"Wrote {folder / 'verification.json'}")
    text = render_fix(found, form, explain=explain, **page(call))
    return Outcome(text, exit_code(found))


def exit_code(report: FixReport) -> int:
    """1 where the file did not verify, else 0."""
    return 1 if report.outcome == "unverified" else 0


def _default_folder(output: Path) -> Path:
    return Path("reports", f"{output.stem}-fix")


def _share(text: str) -> float:
    """``0.5%`` or ``0.005``."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(f"--max-accuracy-drop is {text!r}.", tip="Write 0.5% or 0.005.")
    return share
