"""equiaudit fix: convert, verify, write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.inspect import (
    LAYING_FLAGS,
    MODEL_FLAGS,
    ModelArgument,
    model_settings,
    page,
)
from equiaudit.cli.progress import observing
from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.options import FixOptions, Measuring, Stages

if TYPE_CHECKING:
    from equiaudit.results.repair import FixReport

DATA_FLAGS = (
    *("labels", "class_order", "class_names"),
    *LAYING_FLAGS,
    *("limit", "max_shift", "offsets", "accuracy_check"),
)
"""The settings that say how --data is read and shifted."""
_WRITING = ("output", "dry_run", "explain", "pad", "seconds")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    flags = (*MODEL_FLAGS, *DATA_FLAGS, "seed")
    verb(app, "fix", flags=flags, groups=(Measuring, FixOptions, Stages))(fix)


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
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each kind of op becomes, and why.")
    ] = False,
    format: Annotated[str, typer.Option(help="text, md or json.", metavar="FORMAT")] = "text",
) -> Outcome:
    """Convert to exactly equivariant sampling, verify every phase, and write what verified.

    What claims to be exact and does not verify is left at OUT.unverified, with exit code 1; what
    claims less is written as measured. Exit code 5 when there is nothing to fix or the conversion
    is refused.
    """
    form = _checked_format(format)
    options = dict(call.options)
    _check_read(call, options)
    if form == "json":
        call.refuse(("explain",), "is for text and md", tip="Leave it out; json has the plan.")
    from equiaudit.api import fix as run

    if output is not None and not (options.get("dry_run") or options.get("compare_methods")):
        options.setdefault("report", Path("reports", f"{output.stem}-fix"))
    if "data" in options:
        options |= {name: getattr(call.settings, name) for name in DATA_FLAGS}
    with observing(call.terminal) as observer:
        found = run(
            model,
            output,
            seed=call.settings.seed,
            observer=observer,
            **options,
            **model_settings(call.settings),
        )
    if "report" in options:
        call.terminal.say(f"Wrote {Path(options['report']) / 'fix.json'}")
    if _is_refused(found):
        call.terminal.error(str(found.reason))
    from equiaudit.report.repair import render_fix

    return Outcome(render_fix(found, form, explain=explain, **page(call)), exit_code(found))


def _check_read(call: Call, options: Mapping[str, Any]) -> None:
    """InputError for an option that the command line names and nothing reads."""
    by_hand = options.get("method") != "auto"
    if "data" not in options:
        about = ("max_accuracy_drop", *DATA_FLAGS)
        call.refuse(about, "is about the images of --data", tip="Add --data DIR.")
    if options.get("compare_methods"):
        call.refuse(
            (*(["method"] if by_hand else []), *_WRITING),
            "has no say where methods are only compared, and --compare-methods does no more",
            tip="Leave one of them out.",
        )
    elif by_hand:
        call.refuse(
            ("goal",),
            "is what methods are compared by",
            tip="Add --method auto or --compare-methods.",
        )
    if options.get("calibrate") and not ("distil" in options or "finetune" in options):
        call.refuse(
            ("learning_rate", "train_zero_pad"),
            "has no meaning for --calibrate",
            tip="Add --distil N or --finetune N, or leave it out.",
        )


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
