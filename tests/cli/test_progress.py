"""Observers: settings with their origin, a line per tenth, a bar on terminals."""

import io

from rich.console import Console
from rich.progress import Progress

from equiaudit.cli.progress import Bar, Lines, duration, observing, rich_bar
from equiaudit.cli.terminal import Terminal


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_settings_take_as_few_lines_as_hold_them_whole(capsys):
    Lines(Terminal()).settings({"shifts": "crop", "seed": "0", "long": "x" * 90, "last": "1"})
    assert said(capsys) == ["  shifts crop; seed 0", f"  long {'x' * 90}", "  last 1"]


def test_one_line_per_tenth_with_the_time_left(capsys):
    clock = Clock()
    lines = Lines(Terminal(), clock)
    lines.begin(1000, 0)
    for _ in range(100):
        clock.now += 1.0
        lines.advance(10)
    found = said(capsys)
    assert len(found) == 10
    assert found[0] == " 10%  100 of 1000 images through the model, 1 min 30 s left"
    assert found[-1] == "100%  1000 of 1000 images through the model"


def test_what_was_kept_counts_as_done_but_not_as_speed(capsys):
    clock = Clock()
    lines = Lines(Terminal(), clock)
    lines.begin(100, 50)
    clock.now = 10.0
    lines.advance(10)
    assert said(capsys) == [" 60%  60 of 100 images through the model, 40 s left"]


def test_a_big_step_is_one_line_and_nothing_to_do_is_none(capsys):
    lines = Lines(Terminal(), Clock())
    lines.begin(0, 0)
    lines.begin(100, 0)
    lines.advance(95)
    assert len(said(capsys)) == 1


def test_quiet_says_nothing(capsys):
    with observing(Terminal(quiet=True)) as observer:
        observer.settings({"a": "b"})
        observer.note("x")
        observer.begin(10, 0)
        observer.advance(10)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_are_lines_even_under_force_color(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with observing(Terminal()) as observer:
        assert isinstance(observer, Lines)
        observer.note("a\x1b[31m")
    assert capsys.readouterr().err == "a\\x1b[31m\n"


def test_the_bar_moves_and_notes_are_plain():
    stream = io.StringIO()
    progress = Progress(console=Console(file=stream, force_terminal=True, width=60))
    bar = Bar(Terminal(), progress)
    with progress:
        bar.begin(10, 2)
        bar.advance(3)
        bar.note("[red]n\x1b[2J")
    waiting, task = progress.tasks
    assert (task.completed, task.total) == (5, 10)
    assert not waiting.visible
    assert "[red]n\\x1b[2J" in stream.getvalue()


def test_images_of_the_data_are_counted_not_passes(capsys):
    lines = Lines(Terminal(), Clock())
    lines.begin(280, 0, 7)
    lines.advance(224)
    (line,) = said(capsys)
    assert line.startswith(" 80%  32 of 40 images through the model, each 7 times, ")


def test_a_wait_without_anything_to_count_says_what_it_is_for():
    stream = io.StringIO()
    progress = rich_bar(Console(file=stream, force_terminal=True, width=90))
    bar = Bar(Terminal(), progress)
    with progress:
        (waiting,) = progress.tasks
        assert (waiting.description, waiting.visible) == ("loading", True)
        bar.note("capturing the graph")
        bar.begin(70, 0, 7)
        bar.advance(35)
        progress.refresh()
        assert not progress.tasks[0].visible
        bar.advance(35)
        bar.note("verifying [b]")
        progress.refresh()
    shown = stream.getvalue()
    assert "5 of 10" in shown
    assert "verifying [b]" in shown
    assert progress.tasks[0].visible


def test_durations():
    assert [duration(s) for s in (0.2, 59, 61, 7500)] == ["1 s", "59 s", "1 min 1 s", "2 h 5 min"]
