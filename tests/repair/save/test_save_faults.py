"""A disk that takes no more while a model is saved: a sentence, and no draft is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from equiaudit.repair.save.formats import FORMATS

SAVES = """
import resource, sys
from pathlib import Path
from repair import repair_nets as nets
import torch
from equiaudit.errors import RunError
from equiaudit.graphs.capture import capture
from equiaudit.repair.save.write import save

example = torch.rand(2, 3, 16, 24)
net = nets.TinyResNet(circular=True, view=True)
module = capture(net, size=(16, 24)).graph_module
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
for name in sys.argv[2:]:
    try:
        print(save(module, Path(name), example=example).reason)
    except RunError as error:
        print(error)
"""


def saved(folder: Path, room: int) -> list[str]:
    """What saving in each format said, in a process that may write `room` bytes to a file."""
    here = Path(__file__).parent
    found = os.pathsep.join([str(here.parents[1]), str(here.parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", SAVES, str(room), *(f"net{suffix}" for suffix in FORMATS)],
        env={**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.splitlines()


def test_control_with_room_every_format_is_written(tmp_path):
    assert saved(tmp_path, 0) == ["None"] * len(FORMATS)


@pytest.mark.parametrize("room", [1500])
def test_without_room_there_is_a_sentence_and_no_file(tmp_path, room):
    said = saved(tmp_path, room)
    assert len(said) == len(FORMATS)
    for line in said:
        assert "Cannot write net" in line
        assert "file too large. Make room" in line
    assert not list(tmp_path.iterdir())
