"""equiaudit scan: run the shifts, write the reports, judge the gates."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.failures import Interrupted
from equiaudit.cli.following import after_scan
from equiaudit.cli.payload import append_step_summary, deliver
from equiaudit.cli.progress import observing, packed
from equiaudit.cli.verdicts import say_verdicts
from equiaudit.config import Settings, flag_name
from equiaudit.errors import InputError
from equiaudit.kinds import KINDS, SubPixel

if TYPE_CHECKING:
    from equiaudit.results import Result


JOURNALS = "partial-*.jsonl"
"""Where a run keeps what is done."""
_NOT_OF_SCAN = ("gate", "format", "output")
_NOT_OF_PARTS = ("baseline", "require_baseline", "update_baseline", "format")
_NOT_OF_SHARDS = (
    *("baseline", "require_baseline", "update_baseline", "engine", "address"),
    "save_preprocess",
)
"""Asked of whoever merges, or meaningless for one machine."""


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "scan", flags=tuple(Settings.model_fields))(scan)


def scan(
    call: Call,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model file, torchvision:NAME, torchvision:NAME/WEIGHTS or timm:NAME.",
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Images: a folder, or a URL as s3://bucket/images. Class sub-folders give labels,"
            " masks/ beside images/ masks.",
        ),
    ],
    shard: Annotated[
        str | None,
        typer.Option(
            help="Do the I-th of N parts and write it for equiaudit merge.",
            metavar="I/N",
            rich_help_panel="Run",
        ),
    ] = None,
) -> Outcome:
    """Run the shifts, write the reports, judge the gates."""
    folder = call.settings.output or default_folder(model)
    if shard is not None:
        return Outcome(f"{part(model, data, shard, folder, call)}\n")
    result = audit(model, data, folder, call)
    return replace(conclude(result, folder, call), next=after_scan(result, model, data, call))


def _refuse_unread(call: Call) -> None:
    """InputError for options that nothing reads beside the others."""
    settings, leave_out = call.settings, "Leave one of them out."
    if settings.protocol is not None:
        fixed = f"has no say in the protocol {settings.protocol}, which has its own"
        call.refuse(
            ("shifts", "max_shift", "offsets", "fraction", "resampler"), fixed, tip=leave_out
        )
    kinds = [KINDS[name] for name in settings.shifts]
    if not any(isinstance(kind, SubPixel) for kind in kinds):
        call.refuse(("resampler",), "is of subpixel shifts", tip="Add --shifts subpixel.")
    if not any(kind.fractional for kind in kinds):
        tip = "Add --shifts subpixel or fractional."
        call.refuse(("fraction",), "is of shifts by fractions of a pixel", tip=tip)
    if settings.protocol == "caps":
        unread = "is not read by the protocol caps"
        call.refuse(("labels", "class_order", "class_names", "workers"), unread, tip=leave_out)
    if settings.engine != "ray":
        call.refuse(("address",), "is of a Ray cluster", tip="Add --engine ray.")


def audit(model: str, data: str, folder: Path, call: Call, **more: Any) -> Result:
    """Scan with the settings of `call`; an interruption says what is kept and where."""
    _refuse_unread(call)
    options = {name: getattr(call.settings, name) for name in _scan_settings()} | more
    _say_settings(folder, call)
    try:
        from equiaudit.api import scan as run

        with observing(call.terminal) as observer:
            return run(
                model, data, gates=call.settings.gate, output=folder, observer=observer, **options
            )
    except KeyboardInterrupt:
        raise Interrupted(_kept(folder, call.settings)) from None


def part(model: str, data: str, shard: str, folder: Path, call: Call) -> Path:
    """Do one shard; what is judged, `merge` judges. Returns the file."""
    if call.settings.engine != "local":
        raise InputError("A shard runs on one machine.", tip="Leave --engine or --shard out.")
    _refuse_unread(call)
    judged = "is for what is judged, and a shard is not"
    call.refuse(_NOT_OF_PARTS, judged, tip="Give it to equiaudit merge.")
    call.refuse(("save_preprocess",), "is for a whole scan", tip="Leave it out.")
    options = {n: getattr(call.settings, n) for n in _scan_settings() if n not in _NOT_OF_SHARDS}
    _say_settings(folder, call)
    try:
        from equiaudit.api.merging import scan_shard

        gates = call.settings.gate
        with observing(call.terminal) as observer:
            return scan_shard(
                model, data, shard, gates=gates, output=folder, observer=observer, **options
            )
    except KeyboardInterrupt:
        raise Interrupted(_kept(folder, call.settings)) from None


def conclude(result: Result, folder: Path, call: Call) -> Outcome:
    """Deliver the formats, say the verdicts, and settle the exit code."""
    from equiaudit.gates import exit_code

    several = len(call.settings.format) > 1
    payload = deliver(result, call, folder if several else None)
    append_step_summary(result, call)
    say_verdicts(result, call.terminal)
    call.terminal.say(f"Wrote {folder / 'report.html'}")
    return Outcome(payload, exit_code(result.gates, call.settings.strict))


def default_folder(model: str) -> Path:
    """``reports/<model>``: a file's name without its suffix, or a zoo model's name."""
    scheme, colon, name = model.partition(":")
    is_zoo = bool(colon) and scheme in ("torchvision", "timm")
    stem = name if is_zoo else Path(model).stem
    return Path("reports", re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "model")


def _say_settings(folder: Path, call: Call) -> None:
    """What was set and where; what follows from the model and the data, the scan says itself."""
    rows = {
        flag_name(name): f"{_shown(name, getattr(call.settings, name))} ({origin})"
        for name, origin in call.resolved.origins.items()
    }
    for line in packed({**rows, "output": str(folder)}):
        call.terminal.say(line)


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        from equiaudit.data import without_secrets

        return without_secrets(value)
    between = "x" if name in ("size", "stride") else ", "
    return between.join(map(str, value)) if isinstance(value, tuple) else str(value)


def _scan_settings() -> list[str]:
    return [name for name in Settings.model_fields if name not in _NOT_OF_SCAN]


def _kept(folder: Path, settings: Settings) -> str:
    if not any(journal.stat().st_size for journal in folder.glob(JOURNALS)):
        return "Interrupted before any image was done."
    again = "the same command" if settings.resume else "the same command with --resume"
    return f"Interrupted; what was done is kept in {folder}, and {again} goes on from there."
