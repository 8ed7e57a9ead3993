"""Observers of a run: a bar on a terminal, a line for every tenth elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from equiaudit.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from rich.progress import Progress

    from equiaudit.audit.observer import Observer


@contextlib.contextmanager
def observing(terminal: Terminal) -> Iterator[Observer]:
    """The observer that suits the terminal."""
    if not terminal.live or terminal.quiet:
        yield Lines(terminal)
        return
    with _rich_bar() as progress:
        yield Bar(terminal, progress)


class _Told:
    """Says the settings and the notes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def settings(self, settings: Mapping[str, str]) -> None:
        """A few lines."""
        for line in packed(settings):
            self._say(line)

    def note(self, sentence: str) -> None:
        """One line."""
        self._say(sentence)

    def _say(self, line: str) -> None:
        self._terminal.say(line)


class Lines(_Told):
    """A line for every tenth of the work, with the time left."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(terminal)
        self._clock = clock
        self._total = self._done = self._kept = self._tenth = 0
        self._started = 0.0

    def begin(self, total: int, done: int) -> None:
        """Start the clock; what an earlier run kept does not count towards the speed."""
        self._total, self._done, self._kept = total, done, done
        self._tenth = 10 * done // max(total, 1)
        self._started = self._clock()

    def advance(self, passes: int) -> None:
        """Say how far it is when another tenth is done."""
        self._done += passes
        tenth = 10 * self._done // max(self._total, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            self._say(self._line())

    def _line(self) -> str:
        share = 100 * self._done // self._total
        line = f"{share:3d}%  {self._done} of {self._total} images through the model"
        if self._done >= self._total:
            return line
        pace = (self._clock() - self._started) / (self._done - self._kept)
        return f"{line}, {duration(pace * (self._total - self._done))} left"


class Bar(_Told):
    """A bar with the time left; notes appear above it."""

    def __init__(self, terminal: Terminal, progress: Progress) -> None:
        super().__init__(terminal)
        self._progress = progress

    def begin(self, total: int, done: int) -> None:
        """Show the bar."""
        self._task = self._progress.add_task("images", total=total, completed=done)

    def advance(self, passes: int) -> None:
        """Move it."""
        self._progress.advance(self._task, passes)

    def _say(self, line: str) -> None:
        self._progress.console.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def packed(rows: Mapping[str, str], width: int = 100) -> list[str]:
    """``  name value; name value`` on as few lines of `width` columns as hold them whole."""
    lines: list[str] = []
    for item in (f"{name} {value}" for name, value in rows.items()):
        if lines and len(lines[-1]) + 2 + len(item) <= width:
            lines[-1] += f"; {item}"
        else:
            lines.append(f"  {item}")
    return lines


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _rich_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )
