"""A result in the formats asked for: one for stdout, files for the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.cli.command import Call
from equiaudit.errors import InputError
from equiaudit.formats import FORMATS

if TYPE_CHECKING:
    from equiaudit.results import Result

STEP_SUMMARY_LIMIT = 1024 * 1024
"""Bytes GitHub takes per step."""


def deliver(result: Result, call: Call, folder: Path | None) -> str:
    """The first format, for stdout; with `folder`, every format named is written there too."""
    formats = call.settings.format
    if folder is None and len(formats) > 1:
        raise InputError(
            "Several formats need a folder to be written to.", tip="Name one with -o DIR."
        )
    if folder is not None:
        from equiaudit.report.formats import write_files

        texts = {FORMATS[name].file: _document(result, name, call) for name in formats}
        for path in write_files(folder, texts):
            call.terminal.say(f"Wrote {path}")
    return _shown(result, call)


def append_step_summary(result: Result, call: Call) -> None:
    """Append the report to the file that GitHub names in $GITHUB_STEP_SUMMARY, if it does.

    A summary that cannot be written is a warning: the audit itself is done.
    """
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    from equiaudit.report import step_summary

    text = step_summary(result)
    try:
        with Path(name).open("a", encoding="utf-8", errors="backslashreplace") as file:
            room = STEP_SUMMARY_LIMIT - file.tell()
            if len(text.encode("utf-8", "backslashreplace")) > room:
                call.terminal.warn("The step summary is full; the report was not added to it.")
                return
            file.write(text)
    except OSError as error:
        call.terminal.warn(f"The step summary cannot be written: {error}.")


def _shown(result: Result, call: Call) -> str:
    """The first format, coloured and as wide as the terminal if it is text."""
    from equiaudit.report import render_text

    name = call.settings.format[0]
    if name == "text":
        return render_text(result, color=call.terminal.color, width=call.terminal.width)
    return _document(result, name, call)


def _document(result: Result, name: str, call: Call) -> str:
    from equiaudit.report import render

    return render(result, name, images=call.settings.images, strict=call.settings.strict)
