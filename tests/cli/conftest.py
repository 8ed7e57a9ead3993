"""A command line without models: the scan is a fake, its result as rich as a real one."""

import os
from pathlib import Path

import pytest
from results import make_result

import equiaudit
from equiaudit import api
from equiaudit.api import python  # noqa: F401  before a fake stands in its place
from equiaudit.cli import main


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """An empty current folder, no settings from the environment; children find the package."""
    for name in list(os.environ):
        if name.startswith(("EQUIAUDIT_", "GITHUB_")) or name in ("NO_COLOR", "FORCE_COLOR", "CI"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(Path(equiaudit.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""

    def run_main(*argv):
        code = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run_main


@pytest.fixture
def scanned(monkeypatch):
    """Let `equiaudit.api.scan` return a ready result, or do what `does` says.

    Returns the list of its calls as (model, data, options).
    """
    calls = []

    def install(result=None, does=None):
        found = result or make_result(n=64, kinds=("circular",)).model_copy(update={"gates": ()})

        def scan(model, data, **options):
            calls.append((model, data, options))
            return does(options) if does else found

        monkeypatch.setattr(api, "scan", scan)
        return calls

    return install


@pytest.fixture
def saved(tmp_path):
    """Write a result.json; returns its path."""

    def save(name="result.json", **changes):
        result = make_result(n=1000).model_copy(update=changes)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(result.model_dump_json(), encoding="utf-8")
        return path

    return save
