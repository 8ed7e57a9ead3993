"""The two streams: the payload goes to stdout, everything said on the way to stderr."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TextIO

PIPE_WIDTH = 100
"""Columns of a text report that no terminal shows."""


def plain(text: str) -> str:
    """`text` with all that steers a terminal or a CI log written as an escape, line ends too."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    shown = shown.replace("##[", r"##\x5b")
    return r"\x3a" + shown[1:] if shown.startswith("::") else shown


def one_line(text: str) -> str:
    """`text` on one line: runs of white space become a space, the rest as `plain`."""
    return plain(" ".join(text.split()))


@dataclass(frozen=True)
class Terminal:
    """How to talk: what was asked for with -q and -v, and what stdout can show."""

    quiet: bool = False
    verbose: bool = False
    color: bool = False
    """Whether text on stdout is coloured."""
    width: int = PIPE_WIDTH
    """Columns for text on stdout; fixed where no terminal shows it."""

    @classmethod
    def detect(cls, *, quiet: bool, verbose: bool, no_color: bool) -> Terminal:
        """Look at stdout now, while it still is the process's own."""
        color = not no_color and _colors(sys.stdout, os.environ)
        columns = shutil.get_terminal_size().columns
        width = max(40, min(columns, 160)) if _is_tty(sys.stdout) else PIPE_WIDTH
        return cls(quiet, verbose, color, width)

    def say(self, sentence: str) -> None:
        """One line on stderr, unless -q."""
        if not self.quiet:
            _write(sys.stderr, plain(sentence) + "\n")

    def warn(self, sentence: str) -> None:
        """One line on stderr that starts with ``equiaudit: warning:``, unless -q."""
        self.say(f"equiaudit: warning: {sentence}")

    def error(self, sentence: str) -> None:
        """One line on stderr that starts with ``equiaudit: error:``; -q does not silence it."""
        _write(sys.stderr, f"equiaudit: error: {one_line(sentence)}\n")

    def trace(self, text: str) -> None:
        """A traceback, as it is but for what steers a terminal."""
        _write(sys.stderr, "\n".join(plain(line) for line in text.split("\n")))

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal that can redraw a progress bar, and no CI log."""
        return shows_bars(sys.stderr, os.environ)


def _colors(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return _is_tty(stream) and environ.get("TERM") != "dumb"


def shows_bars(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """True on a real terminal only: FORCE_COLOR asks for colour, never for bars."""
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    return _is_tty(stream) and not in_ci and environ.get("TERM") != "dumb"


def write_payload(text: str) -> None:
    """Write `text` to stdout as UTF-8 and end it with a line end; OSError when that fails.

    A reader that has closed the pipe has seen all it wanted: that is no error.
    """
    stream = sys.stdout
    if stream is None or not text:
        return
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        stream.write(text if text.endswith("\n") else text + "\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError:
        _silence(stream)
        raise


@contextlib.contextmanager
def clean_stdout() -> Iterator[None]:
    """Send what models and libraries print while they work to stderr, at both levels.

    The file descriptor is switched only where `sys.stdout` really is descriptor 1, so that
    a caller that captures Python's stream keeps its own.
    """
    if sys.stdout is None or sys.stderr is None:
        yield
        return
    with _descriptor_to_stderr(sys.stdout), contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _descriptor_to_stderr(stream: TextIO) -> Iterator[None]:
    if _descriptor(stream) != 1 or _descriptor(sys.stderr) != 2:
        yield
        return
    stream.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _write(stream: TextIO | None, text: str) -> None:
    """Nobody listening on stderr must not stop the work."""
    if stream is None:
        return
    codec = stream.encoding or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        stream.write(text.encode(codec, "backslashreplace").decode(codec))
        stream.flush()


def _silence(stream: TextIO) -> None:
    """Point a broken stdout nowhere, or the interpreter fails to flush it on its way out."""
    descriptor = _descriptor(stream)
    if descriptor is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _is_tty(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
