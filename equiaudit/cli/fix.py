"""equiaudit fix: convert, verify, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.fix_options import DATA_FLAGS, Conversion, Measuring, Recovery
from equiaudit.cli.inspect import (
    MODEL_FLAGS,
    ModelArgument,
    model_settings,
    page,
)
from equiaudit.cli.progress import observing
from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.options import FixOptions

if TYPE_CHECKING:
    from equiaudit.results.repair import FixReport

__all__ = ["exit_code", "register"]

_FLAGS = (*MODEL_FLAGS, *DATA_FLAGS, "seed")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "fix", flags=_FLAGS)(fix)


def fix(
    call: Call,
    model: ModelArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write: .pt, .pt2, .onnx, or .safetensors with graph and config beside.",
        ),
    ] = None,
    conversion: Conversion,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = (
        False
    ),
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each kind of op becomes, and why.")
    ] = False,
    measuring: Measuring,
    recovery: Recovery,
    seconds: Annotated[
        float, typer.Option(help="About how long verification goes on, in all.", min=0.0)
    ] = FixOptions().seconds,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder for verification.json and fix.json. Default reports/<OUT>-fix.",
            metavar="DIR",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="text, md or json.", metavar="FORMAT")] = "text",
) -> Outcome:
    """Convert to exactly equivariant sampling, verify every phase, and write what verified.

    What claims to be exact and does not verify is left at OUT.unverified, with exit code 1; what
    claims less is written as measured. Exit code 5 when there is nothing to fix or the conversion
    is refused.
    """
    form = _checked_format(format)
    for group in (measuring, conversion, recovery):
        group.checked(call)
    if form == "json":
        call.refuse(("explain",), "is for text and md", tip="Leave it out; json has the plan.")
    from equiaudit.api import fix as run

    if report is None and output is not None and not (dry_run or conversion.compare_methods):
        report = _default_folder(output)
    with observing(call.terminal) as observer:
        found = run(
            model,
            output,
            dry_run=dry_run,
            seed=call.settings.seed,
            seconds=seconds,
            report=report,
            observer=observer,
            **conversion.arguments(),
            **measuring.arguments(call),
            **recovery.arguments(),
            **model_settings(call.settings),
        )
    if report is not None:
        call.terminal.say(f"Wrote {report / 'fix.json'}")
    if _is_refused(found):
        call.terminal.error(str(found.reason))
    from equiaudit.report.repair import render_fix

    return Outcome(render_fix(found, form, explain=explain, **page(call)), exit_code(found))


def exit_code(report: FixReport) -> int:
    """1 where the file did not verify, 5 where a plan is a refusal, else 0."""
    if _is_refused(report):
        return NothingToDo.exit_code
    return 1 if report.outcome == "unverified" else 0


def _is_refused(report: FixReport) -> bool:
    """Whether a dry run found that the method does not fit."""
    return report.outcome == "planned" and report.reason is not None


def _checked_format(name: str) -> Any:
    if name not in ("text", "md", "json"):
        raise InputError(f"There is no format {name!r} here.", tip="Take text, md or json.")
    return name


def _default_folder(output: Path) -> Path:
    return Path("reports", f"{output.stem}-fix")
