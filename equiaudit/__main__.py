"""The process `equiaudit`, also as `python -m equiaudit`."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn

from equiaudit.cli import main


def run() -> NoReturn:
    """Run the command line and end the process with its exit code.

    Where torch was imported, the interpreter is not taken apart: that takes over half a second,
    and more memory than most scans.
    """
    code = main()
    if "torch" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
