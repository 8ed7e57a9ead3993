"""What can stop a command, as a tree; each class carries its exit code.

    EquiauditError
    ├── InputError       exit 2   a flag, a file or a setting is wrong
    ├── RunError         exit 3   the model failed to run, out of memory, disk full
    └── NothingToDo      exit 5   nothing to fix, or a refusal to convert

A thing that could not be done but does not stop the run is not an exception: it is a
`results.Skipped` value that reaches the report.
"""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST_LINE = 200
_LONGEST_MESSAGE = 2_000


class EquiauditError(Exception):
    """One sentence that says what is wrong and where, and a tip that says what to do."""

    exit_code = 3

    def __init__(self, message: str, *, tip: str | None = None) -> None:
        message = _shortened(message)
        super().__init__(message)
        self.message = message
        self.tip = tip

    def __str__(self) -> str:
        return f"{self.message} {self.tip}" if self.tip else self.message


def _shortened(message: str) -> str:
    """`message`, without its middle where a file has put a book into it."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} … {message[-half:]}"


class InputError(EquiauditError):
    """A flag, a file or a setting is wrong; the caller can mend it.

    `flags` are those that would, with placeholders for what is not known.
    """

    exit_code = 2

    def __init__(self, message: str, *, tip: str | None = None, flags: Sequence[str] = ()) -> None:
        super().__init__(message, tip=tip)
        self.flags = tuple(flags)


class RunError(EquiauditError):
    """The work could not be finished: the model raised, memory or the disk ran out."""

    exit_code = 3


class NothingToDo(EquiauditError):
    """There is nothing to fix, or a conversion is refused."""

    exit_code = 5


def first_line(error: BaseException) -> str:
    """What a library's exception says: its first line with words, 200 characters at most.

    The type where it says nothing; no full stop at the end.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST_LINE].rstrip(".")
