"""What other repositories run: the action's own script, with a stand-in for the command."""

import os
import subprocess
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
STAND_IN = '#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n'


@pytest.fixture
def words(tmp_path):
    """The words that the action's scan gets for its inputs."""
    command = tmp_path / "equiaudit"
    command.write_text(STAND_IN)
    command.chmod(0o755)
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    step = action["runs"]["steps"][-1]

    def run(**given):
        inputs = {name: each.get("default", "") for name, each in action["inputs"].items()} | given
        env = {
            name: inputs[value.removeprefix("${{ inputs.").removesuffix(" }}")]
            for name, value in step["env"].items()
        }
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        said = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            env=env | {"PATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout.splitlines()

    return run


def test_the_action_hands_on_what_it_is_given_word_by_word(words):
    gates = "circular.consistency>=0.9\ncrop.accuracy drop<=0.01\n"
    found = words(model="my model.onnx", data="d", gates=gates, baseline="b.json", args="--strict")
    assert found == [
        *("scan", "my model.onnx", "d"),
        *("--gate", "circular.consistency>=0.9", "--gate", "crop.accuracy drop<=0.01"),
        *("--baseline", "b.json", "--strict"),
        *("--format", "github,junit", "-o", "reports/equiaudit"),
    ]


def test_an_input_is_never_a_part_of_the_script(words, tmp_path):
    words(model="$(touch owned)", data="`touch owned`", gates="'; touch owned; '", args="; touch")
    assert not (tmp_path / "owned").exists()


def test_the_action_needs_no_more_than_model_and_data(words):
    assert words(model="m", data="d")[:3] == ["scan", "m", "d"]
