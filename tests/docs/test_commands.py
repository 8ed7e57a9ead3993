"""What the documents show runs: each ``sh`` or ``python`` block under a ``<!-- run -->`` comment.

The blocks of one document run in order, in one folder, with `equiaudit` on PATH. They may
leave the exit code at 0 only. Importing torch takes longer than most of them, so they are run in
forks of one process (`served.py`).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"^<!-- run -->\n+```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 300


def commands(text: str) -> list[str]:
    """Scripts of bash, in order."""
    return [
        block[2] if block[1] == "sh" else f"python - <<'END'\n{block[2]}END\n"
        for block in MARKED.finditer(text)
    ]


def documents() -> list[Path]:
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if path.is_file() and commands(path.read_text("utf-8"))]


SERVED = Path(__file__).with_name("served.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The socket of a process that runs `equiaudit`."""
    path = tmp_path_factory.mktemp("served") / "s"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SERVED), str(path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield path
        process.kill()


@pytest.fixture
def shell(tmp_path, server):
    """Run a script in an empty folder; `equiaudit` is this checkout's, `python` this one."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, arguments in (("equiaudit", f"{SERVED} {server}"), ("python", "")):
        program = bin_folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    home = tmp_path / "work"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EQUIAUDIT_", "GITHUB_"))}
    env = kept | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    return run


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_commands_of_a_document_run(path, shell):
    for script in commands(path.read_text("utf-8")):
        done = shell(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def test_a_marked_block_is_found_and_an_unmarked_one_is_not():
    text = "<!-- run -->\n```sh\na\nb\n```\n\n```sh\nc\n```\n<!-- run -->\n\n```sh\nd\n```\n"
    assert commands(text) == ["a\nb\n", "d\n"]
    assert commands("<!-- run -->\n```python\nx\n```\n") == ["python - <<'END'\nx\nEND\n"]


def test_a_failing_command_is_noticed(shell):
    assert shell("false\ntrue").returncode != 0
    assert shell("equiaudit --no-such-flag").returncode == 2
    assert "No such file: none.pt." in shell("equiaudit inspect none.pt || true").stderr


def test_the_workflow_examples_are_linked_and_name_flags_that_exist():
    from equiaudit.config import Settings, flag_name

    known = {f"--{flag_name(name)}" for name in Settings.model_fields}
    for path in sorted((ROOT / "docs" / "examples").glob("*.yml")):
        text = path.read_text("utf-8")
        assert f"examples/{path.name}" in (ROOT / "docs" / "ci.md").read_text("utf-8")
        own = re.sub(r"pip install [^\n]*", "", text)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", own)) <= known
