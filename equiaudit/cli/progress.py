"""Observers of a run: a bar on a terminal, a line for every tenth elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from equiaudit.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from equiaudit.audit.observer import Observer


@contextlib.contextmanager
def observing(terminal: Terminal) -> Iterator[Observer]:
    """The observer that suits the terminal."""
    if not terminal.live or terminal.quiet:
        yield Lines(terminal)
        return
    with rich_bar() as progress:
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
        self._each, self._started = 1, 0.0

    def begin(self, total: int, done: int, each: int = 1) -> None:
        """Start the clock; what an earlier run kept does not count towards the speed."""
        self._total, self._done, self._kept, self._each = total, done, done, each
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
        count = f"{self._done // self._each} of {self._total // self._each}"
        passes = f", each {self._each} times" if self._each > 1 else ""
        line = f"{share:3d}%  {count} images through the model{passes}"
        if self._done >= self._total:
            return line
        pace = (self._clock() - self._started) / (self._done - self._kept)
        return f"{line}, {duration(pace * (self._total - self._done))} left"


class Bar(_Told):
    """A bar of the images with the time left, or one that moves while there is nothing to count;
    notes appear above it."""

    def __init__(self, terminal: Terminal, progress: Progress) -> None:
        super().__init__(terminal)
        self._progress = progress
        self._waiting = self._task = progress.add_task("loading", total=None)

    def begin(self, total: int, done: int, each: int = 1) -> None:
        """Show the bar of the images."""
        self._progress.update(self._waiting, visible=False)
        self._task = self._progress.add_task("images", total=total, completed=done, each=each)

    def advance(self, passes: int) -> None:
        """Move it."""
        self._progress.advance(self._task, passes)
        if not self._counting:
            self._wait("working")

    def note(self, sentence: str) -> None:
        """Above the bar, and beside the one that moves, as what is being done."""
        super().note(sentence)
        self._wait(sentence)

    @property
    def _counting(self) -> bool:
        """Whether images are being counted."""
        tasks = {task.id: task for task in self._progress.tasks}
        return self._task != self._waiting and not tasks[self._task].finished

    def _wait(self, what: str) -> None:
        """What is being done, where no images are being counted."""
        shown = {"description": plain(what)[:40], "visible": not self._counting}
        self._progress.update(self._waiting, **shown)  # type: ignore[arg-type]

    def _say(self, line: str) -> None:
        self._progress.console.print(plain(line), markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def waiting(terminal: Terminal, what: str) -> Iterator[None]:
    """A bar that moves, with what is being done, where the terminal can show it."""
    with observing(terminal) as observer:
        if isinstance(observer, Bar):
            observer.note(what)
        yield


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


def rich_bar(console: Console | None = None) -> Progress:
    """The bars of a run, on stderr unless said."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Count(ProgressColumn):
        """How many, and how long still; of what is not counted, how long already."""

        def render(self, task: Task) -> Text:
            if task.total is None:
                return Text(duration(task.elapsed or 0.0))
            left, each = task.time_remaining, task.fields.get("each", 1)
            count = f"{int(task.completed) // each} of {int(task.total) // each}"
            return Text(count if left is None else f"{count}, {duration(left)} left")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Count(),
        console=console or Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )
