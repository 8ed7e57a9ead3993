"""The one place where what went wrong becomes an exit code and a line on stderr."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence

from equiaudit.cli.terminal import Terminal, one_line
from equiaudit.errors import EquiauditError, InputError, RunError

INTERRUPTED = 130
_OUT_OF_MEMORY = "Out of memory."
_LESS_MEMORY = "Try a smaller --batch-size or fewer --workers."


class Interrupted(KeyboardInterrupt):
    """An interruption that says what was kept and how to go on."""


def settle(
    work: Callable[[], int],
    terminal: Terminal,
    again: Callable[[Sequence[str]], str] | None = None,
) -> int:
    """Run `work`; whatever it raises ends as one line on stderr and an exit code.

    Where flags would mend it, another line has the command as `again` makes it of them.
    """
    try:
        with stoppable():
            return work()
    except KeyboardInterrupt as stop:
        terminal.error(str(stop) or "Interrupted.")
        return INTERRUPTED
    except EquiauditError as error:
        code = _report(error, terminal)
        if again is not None and isinstance(error, InputError) and error.flags:
            terminal.say(f"Next: {again(error.flags)}")
        return code
    # SystemExit too: a model's code that calls sys.exit(0) has not passed any gate.
    except (Exception, SystemExit) as error:
        return _report(_explain(error), terminal, error)


def usage_error(error: Exception) -> InputError | None:
    """What typer says of a wrong command line; None for any other exception.

    Told by its shape: depending on its version, typer brings click or contains it.
    """
    words = getattr(error, "format_message", None)
    if words is None:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "equiaudit"
    text = words().strip()
    return InputError(text if text[-1:] in ".?!" else f"{text}.", tip=f"Try '{path} --help'.")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM stop the work the way Ctrl-C does, so that what was done is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _report(error: EquiauditError, terminal: Terminal, cause: BaseException | None = None) -> int:
    if terminal.verbose and error.exit_code == RunError.exit_code:
        terminal.trace("".join(traceback.format_exception(cause or error)))
    terminal.error(str(error))
    return error.exit_code


def _explain(error: BaseException) -> EquiauditError:
    if _is_out_of_memory(error):
        return RunError(_OUT_OF_MEMORY, tip=_LESS_MEMORY)
    words = one_line(f"{type(error).__name__}: {error}")[:300]
    return RunError(f"Something failed that should not have: {words}.", tip=_keep_trace(error))


def _is_out_of_memory(error: BaseException) -> bool:
    """MemoryError, torch's OutOfMemoryError, and its CPU allocator's RuntimeError, by name."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return "RuntimeError" in names and "can't allocate memory" in str(error)


def _keep_trace(error: BaseException) -> str:
    """Write the traceback to a file of its own and say where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="equiaudit-", suffix="-traceback.txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return "Run it again with -v to see the traceback."
    return f"The traceback is in {path}."
