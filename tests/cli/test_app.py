"""The command line as a whole: help, usage errors, and what it does not import."""

import json
import os
import subprocess
import sys

import pytest

import equiaudit
from equiaudit.config import Settings, flag_name
from equiaudit.formats import FORMATS

VERBS = ("scan", "compare", "gate", "report", "demo")
HEAVY = ("torch", "torchvision", "pandas", "onnxruntime", "onnx", "timm", "scipy")


def test_version(run):
    assert run("--version") == (0, f"equiaudit {equiaudit.__version__}\n", "")


def test_help_lists_the_verbs_and_the_exit_codes(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert all(verb in out for verb in VERBS)
    assert "130" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_renders(run, verb):
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    assert all(flag in out for flag in ("--quiet", "--verbose", "--no-color"))


def test_scan_has_a_flag_for_every_setting(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    out = run("scan", "--help")[1]
    missing = [name for name in Settings.model_fields if f"--{flag_name(name)}" not in out]
    assert missing == []
    assert "(default circular,crop,zero-pad)" in out
    assert "--no-images" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "Missing command"),
        (["scn"], "'scan'"),
        (["scan"], "MODEL"),
        (["scan", "m", "d", "extra"], "extra"),
        (["scan", "m", "d", "--sise", "3"], "--size"),
        (["scan", "m", "d", "--size"], "--size"),
        (["scan", "m", "d", "--size", "big"], "--size"),
        (["report", "r", "--format", "pdf"], "'pdf'"),
        (["gate", "r", "--config", "none.toml"], "none.toml"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(run, argv, said):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("equiaudit: error: ")
    assert said in err
    assert err.count("\n") == 1


def python(code, *argv, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)],
        capture_output=True,
        text=True,
        env=os.environ | env,
    )


LIGHT = (
    "import sys, json\n"
    "from equiaudit.cli import main\n"
    "codes = [main(argv) for argv in json.loads(sys.argv[1])]\n"
    f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
    "print(json.dumps([codes, heavy]), file=sys.stderr)\n"
)


def imported(*commands):
    """Exit codes of the commands, run in one process, and the heavy modules it loaded."""
    lines = [[str(arg) for arg in command] for command in commands]
    return json.loads(python(LIGHT, json.dumps(lines)).stderr.splitlines()[-1])


def test_help_loads_nothing_heavy():
    assert imported(["--help"], ["scan", "--help"], ["--version"], ["scan"]) == [[0, 0, 0, 2], []]


def test_gate_and_report_load_nothing_heavy(saved):
    path = saved()
    formats = [["report", path, "--format", name] for name in FORMATS]
    found = imported(["gate", path, "--gate", "circular.consistency>=0.5"], *formats)
    assert found == [[0] * (1 + len(FORMATS)), []]


def test_the_control_notices_an_import():
    done = python(LIGHT.replace("from equiaudit", "import scipy\nfrom equiaudit"), "[]")
    assert json.loads(done.stderr.splitlines()[-1]) == [[], ["scipy"]]


def test_python_dash_m_exits_with_the_code():
    command = [sys.executable, "-m", "equiaudit", "report", "nowhere.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere.json" in done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["report", "result.json"]])
def test_a_reader_that_has_gone_is_no_error(saved, argv):
    saved()
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "equiaudit", *argv]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stderr_changes_neither_payload_nor_code(saved):
    command = f'"{sys.executable}" -m equiaudit report "{saved()}" --format csv 2>&-'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count("circular") > 3
