"""equiaudit demo: the built-in model on the built-in images, offline."""

from __future__ import annotations

from pathlib import Path

import typer

from equiaudit.cli.command import Call, Outcome, verb
from equiaudit.cli.scan import audit, conclude
from equiaudit.config import Settings

__all__ = ["register"]

_OF_THE_DEMO = ("arch", "trust", "size", "mean", "std", "preprocess", "task", "output_name")
_OF_OTHER_DATA = ("labels", "stride", "accuracy_check")


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    left_out = _OF_THE_DEMO + _OF_OTHER_DATA
    flags = tuple(name for name in Settings.model_fields if name not in left_out)
    verb(app, "demo", flags=flags, configurable=())(demo)


def demo(call: Call) -> Outcome:
    """Scan the built-in model on the built-in images; needs no files and no network."""
    from equiaudit.demo import DEMO_ARCH, images_path, weights_path

    folder = call.settings.output or Path("reports", "demo")
    result = audit(str(weights_path()), str(images_path()), folder, call, arch=DEMO_ARCH)
    return conclude(result, folder, call)
