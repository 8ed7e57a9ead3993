"""The streams: stdout carries the payload alone, and nothing steers the terminal."""

import io
import os
import subprocess
import sys

import pytest

from equiaudit.cli.terminal import (
    Terminal,
    clean_stdout,
    one_line,
    plain,
    shows_bars,
    write_payload,
)


class Tty(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb", r"a\nb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\udc80b", r"a\udc80b"),
        ("::error::x", r"\x3a:error::x"),
        ("x ##[group]", r"x ##\x5bgroup]"),
        ("naïve é 猫", "naïve é 猫"),
    ],
)
def test_plain_shows_what_steers(hostile, shown):
    assert plain(hostile) == shown


def test_one_line_folds_white_space_and_escapes_the_rest():
    assert one_line("a\n  b\tc\x1b") == r"a b c\x1b"


def test_quiet_silences_all_but_errors(capsys):
    terminal = Terminal(quiet=True)
    terminal.say("said")
    terminal.warn("warned")
    terminal.error("failed")
    assert capsys.readouterr() == ("", "equiaudit: error: failed\n")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "xterm", "CI": "false"}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_bars_show_on_a_real_terminal_only(environ, expected):
    assert shows_bars(Tty(), environ) is expected
    assert not shows_bars(io.StringIO(), environ)
    assert not shows_bars(io.StringIO(), environ | {"FORCE_COLOR": "1"})
    assert not shows_bars(None, environ)


def detected(no_color=False):
    return Terminal.detect(quiet=False, verbose=False, no_color=no_color)


def test_colour_follows_the_flag_then_the_environment(monkeypatch):
    assert not detected().color
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert detected().color
    assert not detected(no_color=True).color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not detected().color


def test_colour_and_width_are_those_of_stdout_though_stderr_is_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "77")
    monkeypatch.setattr(sys, "stderr", Tty())
    assert (detected().color, detected().width) == (False, 100)
    monkeypatch.setattr(sys, "stdout", Tty())
    assert (detected().color, detected().width) == (True, 77)


def test_prints_of_others_do_not_reach_stdout(capfd):
    with clean_stdout():
        print("from python")
        sys.__stdout__.flush()
    write_payload("payload")
    out, err = capfd.readouterr()
    assert out == "payload\n"
    assert "from python" in err


def test_prints_below_python_do_not_reach_stdout():
    code = (
        "import os\n"
        "from equiaudit.cli.terminal import clean_stdout, write_payload\n"
        "with clean_stdout():\n"
        "    os.write(1, b'from C\\n'); print('from Python')\n"
        "write_payload('payload')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "payload\n"
    assert "from C" in done.stderr
    assert "from Python" in done.stderr


def test_stdout_is_whole_again_after_an_error(capfd):
    with pytest.raises(ValueError, match="x"), clean_stdout():
        raise ValueError("x")
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_a_payload_is_utf8_whatever_the_locale():
    code = "from equiaudit.cli.terminal import write_payload; write_payload('\\u732b \\udc80')"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert done.stdout == "猫 \\udc80\n".encode()


def test_a_full_disk_is_an_error_and_a_closed_pipe_is_none():
    code = "from equiaudit.cli.terminal import write_payload; write_payload('x' * 200000)"
    with open("/dev/full", "w") as full:
        failed = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE)
    assert b"OSError" in failed.stderr
    command = f'{sys.executable} -c "{code}" | head -c 1; exit ${{PIPESTATUS[0]}}'
    closed = subprocess.run(["bash", "-c", command], capture_output=True)
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, b"x", b"")
