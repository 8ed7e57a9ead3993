"""fix --calibrate, --distil and --finetune, on the built-in model."""

import json
import shutil

import pytest
import torch

from equiaudit.demo import DEMO_ARCH, images_path, weights_path

ARCH = ("--arch", DEMO_ARCH)
QUICK = ("--seconds", "0.5")


@pytest.fixture
def flat(tmp_path):
    """A few images without labels."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for place in sorted(images_path().rglob("*.png"))[::4]:
        shutil.copy(place, folder / f"{place.parent.name}-{place.name}")
    return folder


def test_a_trained_net_is_verified_and_written(run, tmp_path, flat):
    out = tmp_path / "a.pt"
    code, text, err = run(
        *("fix", weights_path(), *ARCH, "-o", out, *QUICK),
        *("--calibrate", "--distil", 2, "--train-data", flat, "--train-limit", 12),
        *("--train-zero-pad", 0.125),
    )
    assert code == 0, err
    assert "distil" in text
    record = json.loads((tmp_path / "reports/a-fix/fix.json").read_text())
    stages = record["training"]["stages"]
    assert [(stage["name"], stage["images"], stage["epochs"]) for stage in stages] == [
        ("calibrate", 10, 0),
        ("distil", 10, 2),
    ]
    assert (stages[1]["details"]["zero_pad"], stages[1]["details"]["roll"]) == (0.125, 0.0)
    assert record["training"]["seed"] == 0
    assert all(found["passed"] for found in record["verifications"])
    assert not list(tmp_path.glob("*.training.safetensors"))
    plain = tmp_path / "b.pt"
    assert run("fix", weights_path(), *ARCH, "-o", plain, *QUICK)[0] == 0
    tensors = [torch.jit.load(place).state_dict() for place in (out, plain)]
    assert tensors[0].keys() == tensors[1].keys()
    assert any(not torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_training_on_the_data_that_is_measured_is_said(run, tmp_path):
    data = ("--data", images_path(), "--limit", 12, "--offsets", 2)
    code, text, err = run(
        "fix", weights_path(), *ARCH, "-o", tmp_path / "a.pt", *QUICK, *data, "--calibrate"
    )
    assert code == 0, err
    assert "trained on the images of --data" in " ".join(text.split())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--distil", 1), "Training needs images"),
        (("--train-data", "flat"), "--train-data is read by training alone"),
        (("--train-zero-pad", 0.5), "--train-zero-pad is read by training alone"),
        (("--finetune", 1, "--train-data", "flat"), "needs labels or masks"),
        (("--calibrate", "--train-data", "flat", "--method", "canonical"), "nothing to train"),
    ],
)
def test_what_cannot_be_trained_is_exit_2(run, tmp_path, flat, flags, says):
    flags = [flat if flag == "flat" else flag for flag in flags]
    code, _, err = run("fix", weights_path(), *ARCH, "-o", tmp_path / "a.pt", *QUICK, *flags)
    assert code == 2
    assert says in err
    assert not (tmp_path / "a.pt").exists()
