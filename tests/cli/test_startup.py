"""What a verb imports before it has something to do: neither torch nor scipy."""

import argparse
import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from equiaudit.api.loading import load_model
from equiaudit.errors import InputError

HEAVY = ("torch", "torchvision", "scipy", "onnxruntime", "onnx")
RUN = """
import contextlib, io, json, sys
from equiaudit.cli import main
found = []
for argv in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(argv)
    found.append([code, said.getvalue(), [m for m in sys.argv[2:] if m in sys.modules]])
print(json.dumps(found))
"""
KNOWN = ("--size", "16", "--mean", "0,0,0", "--std", "1,1,1")


def started(folder, *lines, heavy=HEAVY):
    """Of each command line, in a process of its own for all: (exit code, what stderr says, heavy
    packages that are imported by then)."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(lines), *heavy],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of every kind that states nothing of its images, and a folder of images."""
    home = tmp_path_factory.mktemp("startup")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
    image = torch.rand(2, 3, 16, 16)
    torch.jit.save(torch.jit.trace(net, image), home / "net.pt")
    torch.export.save(torch.export.export(net, (image,)), home / "net.pt2")
    torch.save(net.state_dict(), home / "net.pth")
    save_file(net.state_dict(), home / "net.safetensors")
    torch.onnx.export(net, (image,), home / "net.onnx", dynamo=False)
    state = models.squeezenet1_1().state_dict()
    torch.save(state, home / "known.pth")
    torch.save(state, home / "legacy.pth", _use_new_zipfile_serialization=False)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    beside = {"epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save({**beside, "model": wrapped}, home / "wrapped.pth")
    (home / "images").mkdir()
    Image.new("RGB", (32, 32)).save(home / "images" / "one.png")
    (home / "empty").mkdir()
    return home


REFUSED = {
    "no such model": (("scan", "none.pt", "images"), "No such file: none.pt."),
    "no model": (("scan", "images/one.png", "images"), "is not a model file"),
    "a folder": (("scan", "images", "images"), "is a folder, not a model file"),
    "torchscript": (("scan", "net.pt", "images"), "size, mean and std are missing"),
    "pt2": (("scan", "net.pt2", "images"), "mean and std are missing"),
    "onnx": (("scan", "net.onnx", "images"), "mean and std are missing"),
    "state dict": (
        ("scan", "net.pth", "images", "--arch", "torchvision:resnet18"),
        "size, mean and std are missing",
    ),
    "safetensors": (
        ("scan", "net.safetensors", "images", "--arch", "torchvision:resnet18"),
        "size, mean and std are missing",
    ),
    "no architecture named": (("scan", "net.pth", "images"), "without an architecture"),
    "none of safetensors": (("scan", "net.safetensors", "images"), "without an architecture"),
    "a known one": (("scan", "known.pth", "images"), "--arch torchvision:squeezenet1_1 fits."),
    "an older file": (
        ("scan", "legacy.pth", "images"),
        "--arch torchvision:squeezenet1_1 fits.",
    ),
    "wrapped": (("scan", "wrapped.pth", "images"), "--arch torchvision:squeezenet1_1 fits."),
    "no architecture": (("scan", "net.pth", "images", "--arch", "resnet"), "not an architecture"),
    "an arch too many": (("scan", "net.pt", "images", "--arch", "timm:x"), "own architecture"),
    "weights": (("scan", "net.pt", "images", "--weights", "ema"), "one set of weights"),
    "input": (("scan", "net.pt", "images", "--input", "a=1"), "inputs of ONNX files"),
    "backend": (("scan", "net.onnx", "images", "--backend", "torch"), "is an ONNX model"),
    "no settings": (("scan", "net.pt", "images", "--preprocess", "p.toml"), "Cannot read"),
    "contradiction": (("scan", "net.onnx", "images", *KNOWN, "--size", "8"), "has size [16, 16]"),
    "no folder": (("scan", "net.pt", "nowhere", *KNOWN), "There is no folder nowhere."),
    "no images": (("scan", "net.pt", "empty", *KNOWN), "There are no images in empty."),
    "no labels": (("scan", "net.pt", "images", *KNOWN, "--labels", "l.csv"), "no labels file"),
    "layout": (("scan", "net.pt", "images", *KNOWN, "--layout", "x"), "There is no layout 'x'."),
    "gate": (("scan", "net.pt", "images", *KNOWN, "--gate", "x>1"), "is not a gate"),
    "baseline": (("scan", "net.pt", "images", "--require-baseline"), "A baseline is required"),
    "early stop": (("scan", "net.pt", "images", "--early-stop"), "needs a gate"),
    "shard": (("scan", "net.pt", "images", "--shard", "1/2"), "size, mean and std are missing"),
    "inspect": (("inspect", "net.pt"), "size is missing"),
    "verify": (("verify", "net.pt", "--size", "16", "nowhere"), "mean and std are missing"),
    "against": (("verify", "net.pt", "--size", "16", "--against", "none.pt"), "No such file"),
    "fix": (("fix", "net.pt", "-o", "out.pt"), "size, mean and std are missing"),
    "fix without a file": (("fix", "net.pt"), "fix needs a file to write."),
    "fix to a wrong file": (("fix", "net.pt", "-o", "out.xyz"), "no suffix that names a kind"),
    "training": (("fix", "net.pt", "-o", "out.pt", "--distil", "1"), "Training needs images."),
}


@pytest.fixture(scope="module")
def refusals(folder):
    """What came of each case; all in one process, so that the first to import torch shows."""
    found = started(folder, *(argv for argv, _ in REFUSED.values()))
    return dict(zip(REFUSED, found, strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_comes_before_torch(refusals, case):
    code, stderr, heavy = refusals[case]
    assert (code, heavy) == (2, [])
    assert REFUSED[case][1] in stderr


def test_what_reads_results_needs_neither_torch_nor_scipy(folder):
    found = started(
        folder,
        ("--help",),
        ("scan", "--help"),
        ("gate", "none.json", "--gate", "circular.consistency>=0.9"),
        ("compare", "none.json", "none.json"),
        ("report", "none.json"),
        ("layouts",),
    )
    assert [heavy for _, _, heavy in found] == [[]] * 6


def test_a_scan_of_a_classifier_imports_torch_and_no_more_than_it_needs(folder):
    """Each of the others took seconds; torch's compiler comes with torchvision.ops.

    That torch is there is the control: the list of packages is able to tell.
    """
    listed = ("torch", "torchvision", "torch._dynamo", "scipy.stats", "scipy.optimize", "pandas")
    line = ("scan", "net.onnx", "images", *KNOWN, "--shifts", "circular")
    assert started(folder, line, heavy=listed)[0][::2] == [0, ["torch"]]


@pytest.mark.parametrize("name", ["net.pt", "net.pt2", "net.onnx"])
def test_the_sentence_is_that_of_loading(folder, name, monkeypatch):
    """What is told early and what loading itself tells come to the same words."""
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as early:
        load_model(name)
    from equiaudit.models import outline

    monkeypatch.setattr(outline.Outline, "check_preprocess", lambda *_, **__: None)
    with pytest.raises(InputError) as late:
        load_model(name)
    assert str(late.value) == str(early.value)


@pytest.mark.parametrize("name", ["net.pt", "net.pt2"])
def test_an_extra_file_in_any_case_is_read(folder, name, tmp_path):
    """As torch's own reader finds it; control: without it mean and std are missing."""
    text = "size = [16, 16]\nmean = [0.1, 0.2, 0.3]\nstd = [1, 1, 1]\n"
    path = tmp_path / name
    shutil.copy(folder / name, path)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/preprocess.toml", text)
    model = load_model(path)
    assert model.preprocess.mean == (0.1, 0.2, 0.3)
