"""equiaudit fix: convert, verify, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.inspect import (
    MODEL_FLAGS,
    ModelArgument,
    model_settings,
    page,
)
from equiaudit.cli.progress import observing
from equiaudit.errors import InputError, NothingToDo

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
            help="mass rewrites the net; canonical rolls the input of the net as it is;"
            " crop-select chooses a crop of a larger input; aps, lps, caps, lpf and ddac, and mass,"
            " aps, lps or caps with +lpf or +ddac, are for training. A+B puts A around B; auto"
            " measures those that need no training on --data and picks.",
            metavar="NAME",
        ),
    ] = "mass",
    goal: Annotated[
        str,
        typer.Option(help="The shifts that auto picks by: circular or crop.", metavar="KIND"),
    ] = "circular",
    compare_methods: Annotated[
        bool,
        typer.Option("--compare-methods", help="Measure every method on --data; write nothing."),
    ] = False,
    margin: Annotated[
        int,
        typer.Option(help="px by which crop-select's input is larger.", metavar="M", min=1),
    ] = 16,
    window: Annotated[
        str | None,
        typer.Option(
            help="px of each map's border to leave out of choices, or auto: steadier under crops,"
            " no longer exact.",
            metavar="auto|N",
        ),
    ] = None,
    positions: Annotated[
        list[str] | None,
        typer.Option(
            help="An output, by name or place, that holds boxes (x1, y1, x2, y2) or keypoints"
            " (x, y) in px, or none; canonical maps them back. Repeatable.",
            metavar="OUTPUT=KIND",
        ),
    ] = None,
    select: Annotated[
        str,
        typer.Option(help="Origins from the features or from the input.", metavar="NAME"),
    ] = "features",
    only: Annotated[
        str | None,
        typer.Option(help="Convert only these, modules or nodes; no longer exact.", metavar="GLOB"),
    ] = None,
    skip: Annotated[
        str | None, typer.Option(help="Leave these as they are; no longer exact.", metavar="GLOB")
    ] = None,
    pad: Annotated[
        str,
        typer.Option(
            help="How an .onnx OUT pads circularly: Pad(wrap), or slices for any runtime.",
            metavar="wrap|slices",
        ),
    ] = "wrap",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = (
        False
    ),
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each kind of op becomes, and why.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Images, a folder or URL: verify on some, and scan both models.", metavar="DIR"
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        str | None,
        typer.Option(
            help="Most unshifted accuracy to lose on --data, as 0.5% or 0.005 (1% for auto)."
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Re-estimate the statistics of batch normalisation.",
            rich_help_panel="Getting accuracy back",
        ),
    ] = False,
    distil: Annotated[
        int,
        typer.Option(
            help="Epochs of imitating the original net; needs no labels.",
            metavar="N",
            min=0,
            rich_help_panel="Getting accuracy back",
        ),
    ] = 0,
    finetune: Annotated[
        int,
        typer.Option(
            help="Epochs on labels or masks.",
            metavar="N",
            min=0,
            rich_help_panel="Getting accuracy back",
        ),
    ] = 0,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Highest learning rate. Default 0.02, but 0.001 to fine-tune on labels.",
            metavar="X",
            rich_help_panel="Getting accuracy back",
        ),
    ] = None,
    train_data: Annotated[
        str | None,
        typer.Option(
            help="Images for these. Default: those of --data.",
            metavar="DIR",
            rich_help_panel="Getting accuracy back",
        ),
    ] = None,
    train_limit: Annotated[
        int | None,
        typer.Option(
            help="Use that many of them.",
            metavar="N",
            min=2,
            rich_help_panel="Getting accuracy back",
        ),
    ] = None,
    train_zero_pad: Annotated[
        float | None,
        typer.Option(
            help="Share of the training windows that black enters at, as in zero-pad scans; 0 for"
            " none. Default 0.5 where a map comes out, else 0.25.",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            rich_help_panel="Getting accuracy back",
        ),
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
    format: Annotated[str, typer.Option(help="text, md or json.", metavar="FORMAT")] = "text",
) -> Outcome:
    """Convert to exactly equivariant sampling, verify every phase, and write what verified.

    What claims to be exact and does not verify is left at OUT.unverified, with exit code 1; what
    claims less is written as measured. Exit code 5 when there is nothing to fix or the conversion
    is refused.
    """
    form = _checked_format(format)
    most = None if max_accuracy_drop is None else _share(max_accuracy_drop)
    if most is not None and data is None:
        raise InputError("--max-accuracy-drop needs images.", tip="Add --data DIR.")
    if select not in ("features", "input"):
        raise InputError(f"--select is {select!r}.", tip="It is features or input.")
    from equiaudit.api import fix as run
    from equiaudit.report.repair import render_fix

    settings = call.settings
    if report is None and output is not None and not (dry_run or compare_methods):
        report = _default_folder(output)
    with observing(call.terminal) as observer:
        found = run(
            model,
            output,
            method=method,
            select=select,  # type: ignore[arg-type]
            pad=pad,  # type: ignore[arg-type]
            only=only,
            skip=skip,
            margin=margin,
            positions=_positions(positions or []),
            window=_window(window),
            compare_methods=compare_methods,
            goal=goal,  # type: ignore[arg-type]
            dry_run=dry_run,
            data=data,
            labels=settings.labels,
            limit=settings.limit,
            max_shift=settings.max_shift,
            offsets=settings.offsets,
            seed=settings.seed,
            max_accuracy_drop=most,
            seconds=seconds,
            calibrate=calibrate,
            distil=distil,
            finetune=finetune,
            learning_rate=learning_rate,
            train_data=train_data,
            train_limit=train_limit,
            train_zero_pad=train_zero_pad,
            report=report,
            observer=observer,
            **model_settings(settings),
        )
    if report is not None:
        call.terminal.say(f"Wrote {report / 'fix.json'}")
    if is_refused(found):
        call.terminal.error(str(found.reason))
    text = render_fix(found, form, explain=explain, **page(call))
    return Outcome(text, exit_code(found))


def exit_code(report: FixReport) -> int:
    """1 where the file did not verify, 5 where a plan is a refusal, else 0."""
    if is_refused(report):
        return NothingToDo.exit_code
    return 1 if report.outcome == "unverified" else 0


def is_refused(report: FixReport) -> bool:
    """Whether a dry run found that the method does not fit."""
    return report.outcome == "planned" and report.reason is not None


def _window(text: str | None) -> int | Literal["auto"] | None:
    if text is None or text.isdigit():
        return None if text is None else int(text)
    if text != "auto":
        raise InputError(f"--window is {text!r}.", tip="It is auto, or a number of px.")
    return "auto"


def _positions(pairs: list[str]) -> dict[str, str]:
    """OUTPUT=KIND, several."""
    found = {}
    for pair in pairs:
        name, equals, kind = pair.rpartition("=")
        if not equals or not name:
            raise InputError(
                f"--positions is {pair!r}.", tip="Write OUTPUT=boxes, OUTPUT=keypoints or =none."
            )
        found[name] = kind
    return found


def _checked_format(name: str) -> Any:
    if name not in ("text", "md", "json"):
        raise InputError(f"There is no format {name!r} here.", tip="Take text, md or json.")
    return name


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
