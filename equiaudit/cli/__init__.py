"""The command line: one file per verb; parses, calls the API, shows progress, sets exit codes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `equiaudit` with `argv` (default: the process's) and return its exit code.

    0 ran, 1 a gate failed, 2 usage or input, 3 could not finish, 4 inconclusive under
    --strict, 5 nothing to do, 130 interrupted.
    """
    from equiaudit.cli.app import run

    return run(argv)
