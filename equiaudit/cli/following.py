"""The command that comes next, ready to be pasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.cli.command import Call
from equiaudit.cli.fix import DATA_FLAGS
from equiaudit.cli.inspect import MODEL_FLAGS
from equiaudit.cli.spelling import fixed_name, spelled, told_flags
from equiaudit.kinds import KINDS

if TYPE_CHECKING:
    from equiaudit.results import Result


def after_scan(result: Result, model: str, data: str, call: Call) -> str:
    """How to repair what the scan found, with what the command line says of model and data.

    "" where shifts change nothing that a method mends, and where the images are sequences, which
    fix does not read.
    """
    from equiaudit.report.findings import changed_kinds

    changed = changed_kinds(result)
    rolls = {kind for kind in result.shifts if kind in KINDS and KINDS[kind].whole}
    # Where rolls change nothing, what is left is at the border, and of black no method is rid.
    still = bool(rolls) and not rolls & {*changed}
    real = any(KINDS[kind].real for kind in changed if kind in KINDS)
    if call.settings.protocol == "caps" or not changed or (still and not real):
        return ""
    told = told_flags(call, (*MODEL_FLAGS, *DATA_FLAGS))
    fixed = fixed_name(model, onnx=result.fingerprint.model_kind == "onnx")
    how = ("--method", "crop-select") if still else ()
    command = ("equiaudit", "fix", model, "-o", fixed, *how, "--data", data, *told)
    return spelled(command)
