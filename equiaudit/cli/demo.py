"""equiaudit demo: scan and fix of the built-in model on the built-in images, offline."""

from __future__ import annotations

from pathlib import Path

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.fix import exit_code
from equiaudit.cli.inspect import page
from equiaudit.cli.progress import observing
from equiaudit.cli.scan import audit, conclude
from equiaudit.config import Settings

_OF_THE_DEMO = (
    *("arch", "weights", "trust", "size", "mean", "std", "image_range", "preprocess", "task"),
    *("threshold", "output_name", "output_layout", "input", "detector"),
)
_OF_OTHER_DATA = (
    "labels",
    "class_order",
    "class_names",
    "stride",
    "accuracy_check",
    "save_preprocess",
    "engine",
    "address",
)
_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    left_out = _OF_THE_DEMO + _OF_OTHER_DATA
    flags = tuple(name for name in Settings.model_fields if name not in left_out)
    verb(app, "demo", flags=flags, configurable=())(demo)


def demo(call: Call) -> Outcome:
    """Scan and fix the built-in model on the built-in images; needs no files and no network."""
    from equiaudit.demo import DEMO_ARCH, images_path, weights_path

    folder = call.settings.output or Path("reports", "demo")
    result = audit(str(weights_path()), str(images_path()), folder, call, arch=DEMO_ARCH)
    scanned = conclude(result, folder, call)
    fixed = _fix(folder, call)
    text_only = call.settings.format == ("text",)
    payload = f"{scanned.payload}\n{fixed.payload}" if text_only else scanned.payload
    return Outcome(payload, scanned.code or fixed.code)


def _fix(folder: Path, call: Call) -> Outcome:
    """Convert the model to FOLDER/fixed.pt, with the table before and after."""
    from equiaudit.api import fix
    from equiaudit.demo import DEMO_ARCH, images_path, weights_path
    from equiaudit.report.repair import render_fix

    settings = call.settings
    with observing(call.terminal) as observer:
        report = fix(
            weights_path(),
            folder / "fixed.pt",
            data=images_path(),
            limit=settings.limit,
            max_shift=settings.max_shift,
            offsets=settings.offsets,
            seed=settings.seed,
            seconds=_SECONDS,
            report=folder / "fix",
            observer=observer,
            arch=DEMO_ARCH,
            device=settings.device,
        )
    call.terminal.say(f"Wrote {report.output}")
    return Outcome(render_fix(report, "text", **page(call)), exit_code(report))
