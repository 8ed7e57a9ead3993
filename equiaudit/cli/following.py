"""The command that comes next, ready to be pasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equiaudit.cli.command import Call
from equiaudit.cli.fix import DATA_FLAGS
from equiaudit.cli.inspect import MODEL_FLAGS
from equiaudit.cli.spelling import fixed_name, spelled, told_flags

if TYPE_CHECKING:
    from equiaudit.results import Result


def after_scan(result: Result, model: str, data: str, call: Call) -> str:
    """How to repair what the scan found, with what the command line says of model and data.

    "" where shifts change nothing, and where the images are sequences, which fix does not read.
    """
    from equiaudit.report.findings import changes

    if call.settings.protocol == "caps" or not changes(result):
        return ""
    told = told_flags(call, (*MODEL_FLAGS, *DATA_FLAGS))
    fixed = fixed_name(model, onnx=result.fingerprint.model_kind == "onnx")
    # Where rolls change nothing, what is left is at the border.
    how = () if changes(result, probes=True) else ("--method", "crop-select")
    command = ("equiaudit", "fix", model, "-o", fixed, *how, "--data", data, *told)
    return spelled(command)
