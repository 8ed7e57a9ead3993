"""What a library's exception says, in one line."""

from __future__ import annotations

__all__ = ["first_line"]

_MOST = 200


def first_line(error: Exception) -> str:
    """The first line with words in it, 200 characters at most; the type where there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_MOST].rstrip(".")
