"""The end of the process: its code, and what has to be done before it."""

import sys

import pytest

from equiaudit import __main__ as process


def test_without_torch_python_ends_the_process(monkeypatch):
    monkeypatch.setattr(process, "main", lambda: 4)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(SystemExit) as ended:
        process.run()
    assert ended.value.code == 4


def test_with_torch_files_are_removed_and_streams_flushed_first(monkeypatch):
    class Ended(Exception):
        pass

    class Stream:
        def flush(self):
            done.append("flushed")
            raise BrokenPipeError

    def leave(code):
        done.append(code)
        raise Ended

    done = []
    monkeypatch.setattr(process, "main", lambda: 3)
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.setattr(process.atexit, "_run_exitfuncs", lambda: done.append("atexit"))
    monkeypatch.setattr(process.os, "_exit", leave)
    monkeypatch.setattr(process.sys, "stdout", Stream())
    monkeypatch.setattr(process.sys, "stderr", Stream())
    with pytest.raises(Ended):
        process.run()
    assert done == ["atexit", "flushed", "flushed", 3]
