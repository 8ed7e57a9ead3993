"""equiaudit report: a saved result in every format."""

import json
import sys

import pytest

STARTS = {
    "json": "{",
    "csv": "kind,",
    "md": "#",
    "html": "<!doctype html>",
    "junit": "<?xml",
    "github": "::",
}


@pytest.mark.parametrize("format", STARTS)
def test_the_payload_is_the_format(run, saved, format):
    code, out, err = run("report", saved(), "--format", format)
    assert (code, err) == (0, "")
    assert out.lower().startswith(STARTS[format])


def test_text_is_the_default_and_plain_where_no_terminal_is(run, saved):
    out = run("report", saved())[1]
    assert "circular" in out
    assert "\x1b" not in out


def test_text_is_coloured_when_forced_unless_the_flag_says_no(run, saved, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("report", saved())[1]
    assert "\x1b" not in run("report", saved(), "--no-color")[1]


def test_a_terminal_on_stderr_does_not_colour_a_file_on_stdout(run, saved, monkeypatch):
    path = saved()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: stream is sys.stderr)
    assert "\x1b" not in run("report", path)[1]


def test_json_is_the_result_again(run, saved):
    path = saved()
    assert json.loads(run("report", path, "--format", "json")[1]) == json.loads(path.read_text())


def test_html_without_images_is_smaller(run, saved):
    path = saved()
    full = run("report", path, "--format", "html")[1]
    bare = run("report", path, "--format", "html", "--no-images")[1]
    assert len(bare) < len(full)


def test_several_formats_need_a_folder(run, saved, tmp_path):
    code, out, err = run("report", saved(), "--format", "md,html")
    assert (code, out) == (2, "")
    assert "-o" in err
    code, out, err = run("report", saved(), "--format", "md,html", "-o", "out")
    assert code == 0
    assert (tmp_path / "out" / "report.md").read_text() == out
    assert (tmp_path / "out" / "report.html").exists()


def test_a_file_with_gates_that_failed_is_rendered_with_0(run, saved):
    assert run("report", saved(), "--format", "junit")[0] == 0


def test_no_such_result(run):
    code, out, err = run("report", "none.json")
    assert (code, out) == (2, "")
    assert "none.json" in err
