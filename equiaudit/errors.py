"""What can stop a command, as a tree; each class carries its exit code.

    EquiauditError
    ├── InputError       exit 2   a flag, a file or a setting is wrong
    ├── RunError         exit 3   the model failed to run, out of memory, disk full
    └── NothingToDo      exit 5   nothing to audit, nothing to fix, or a refusal to convert

A thing that could not be done but does not stop the run is not an exception: it is a
`results.Skipped` value that reaches the report.
"""

from __future__ import annotations

__all__ = ["EquiauditError", "InputError", "NothingToDo", "RunError"]


class EquiauditError(Exception):
    """One sentence that says what is wrong and where, and a tip that says what to do."""

    exit_code = 3

    def __init__(self, message: str, *, tip: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.tip = tip

    def __str__(self) -> str:
        return f"{self.message} {self.tip}" if self.tip else self.message


class InputError(EquiauditError):
    """A flag, a file or a setting is wrong; the caller can mend it."""

    exit_code = 2


class RunError(EquiauditError):
    """The work could not be finished: the model raised, memory or the disk ran out."""

    exit_code = 3


class NothingToDo(EquiauditError):
    """There is nothing to audit or to fix, or a conversion is refused."""

    exit_code = 5
