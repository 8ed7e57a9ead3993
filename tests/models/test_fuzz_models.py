"""Mutated model files: a sentence or a model, and nothing run, written, hung or blown up."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from artefacts import write_onnx, write_pt2, write_torchscript
from nets import tiny_net
from safetensors.torch import save_file

from equiaudit.models.hashing import file_sha256

EXAMPLE = torch.zeros(2, 3, 16, 16)
TOML = 'size = [16, 16]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\nchannels = "rgb"\n'
FAST, SOAK = 12, int(os.environ.get("SOAK_TRIES", "400"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One small file of every kind, in the folder good."""
    folder = tmp_path_factory.mktemp("fuzz")
    good = folder / "good"
    good.mkdir()
    net = tiny_net().eval()
    write_torchscript(net, good / "script.pt", EXAMPLE, extra_files={"preprocess.toml": TOML})
    write_pt2(net, good / "export.pt2", EXAMPLE, extra_files={"preprocess.toml": TOML})
    write_onnx(net, good / "graph.onnx", EXAMPLE)
    save_file(net.state_dict(), good / "weights.safetensors")
    torch.save(net.state_dict(), good / "weights_zip.pt")
    torch.save(net.state_dict(), good / "weights_old.pt", _use_new_zipfile_serialization=False)
    (good / "preprocess.toml").write_text(TOML)
    save_file(net.state_dict(), good / "converted.safetensors")
    write_torchscript(net, good / "converted.graph.pt", EXAMPLE)
    config = {
        "format": "equiaudit-graph",
        "graph": "converted.graph.pt",
        "weights": "converted.safetensors",
        "graph_sha256": file_sha256(good / "converted.graph.pt"),
        "weights_sha256": file_sha256(good / "converted.safetensors"),
    }
    (good / "converted.json").write_text(json.dumps(config))
    return folder


def fuzz(folder: Path, seed: int, count: int) -> list[str]:
    """What every try said; fails where one ended the process."""
    tests = Path(__file__).parent.parent
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("fuzzing.py")),
            folder,
            str(seed),
            str(count),
        ],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    tried = [line["try"] for line in lines if "try" in line]
    said = [line for line in lines if "said" in line]
    assert done.returncode == 0, f"{tried[-1:]} ended with {done.returncode}: {done.stderr[-2000:]}"
    assert len(tried) == len(said) == count * len(list((folder / "good").iterdir()))
    assert not [name for name, line in zip(tried, said, strict=True) if not line["same"]]
    assert not list(folder.rglob("ran")), "code ran, or a file was written outside"
    bad = [
        (name, line["said"][:300])
        for name, line in zip(tried, said, strict=True)
        if not re.fullmatch(r"loaded|[23] [^\n]+[.?!)]", line["said"])
    ]
    assert not bad
    return [line["said"] for line in said]


def test_mutated_files_end_in_a_sentence_or_a_model(files):
    said = fuzz(files, 0, FAST)
    assert len(said) / 10 < sum(each != "loaded" for each in said), "the mutations do nothing"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_thousands_of_mutated_files_end_in_a_sentence_or_a_model(files, seed):
    fuzz(files, seed, SOAK)
