"""Whatever goes wrong ends as one line on stderr and the right exit code."""

import re
import signal
from pathlib import Path

import pytest

from equiaudit.cli.failures import Interrupted, settle
from equiaudit.cli.terminal import Terminal
from equiaudit.errors import InputError, NothingToDo, RunError


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


def outcome(error, capsys, **how):
    def work():
        raise error

    code = settle(work, Terminal(**how))
    out, err = capsys.readouterr()
    assert out == ""
    return code, err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("Wrong.", tip="Do this."), 2, "equiaudit: error: Wrong. Do this.\n"),
        (RunError("Broke."), 3, "equiaudit: error: Broke.\n"),
        (NothingToDo("Nothing."), 5, "equiaudit: error: Nothing.\n"),
        (MemoryError(), 3, "Out of memory"),
        (OutOfMemoryError("CUDA out of memory"), 3, "--batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 3, "--batch-size"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (Interrupted("Kept in x."), 130, "equiaudit: error: Kept in x.\n"),
        (SystemExit(0), 3, "SystemExit: 0"),
        (RecursionError("deep"), 3, "RecursionError: deep"),
        (InputError("bad\x1b[2J\nname."), 2, "equiaudit: error: bad\\x1b[2J name.\n"),
    ],
)
def test_an_error_becomes_a_line_and_a_code(error, code, said, capsys):
    found, err = outcome(error, capsys)
    assert found == code
    assert said in err
    assert err.count("\n") == 1


def test_an_unexpected_error_keeps_its_traceback_in_a_file(capsys):
    code, err = outcome(ZeroDivisionError("by\nzero"), capsys)
    assert code == 3
    assert "ZeroDivisionError: by zero" in err
    assert "Traceback (" not in err
    path = Path(re.search(r"The traceback is in (\S+)\.\n", err)[1])
    assert "Traceback (" in path.read_text()
    path.unlink()


def test_verbose_shows_the_traceback_of_what_broke_only(capsys):
    assert "Traceback (" in outcome(RunError("x"), capsys, verbose=True)[1]
    assert "Traceback (" not in outcome(InputError("x"), capsys, verbose=True)[1]


def test_sigterm_stops_like_an_interrupt_and_the_handler_is_put_back(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def work():
        signal.raise_signal(signal.SIGTERM)
        return 0

    assert settle(work, Terminal()) == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_code_passes_through(capsys):
    assert settle(lambda: 4, Terminal()) == 4
    assert capsys.readouterr() == ("", "")
