"""What a file says of the output is read as a flag would be, and kept by `fix` and on request."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from artefacts import write_onnx, write_torchscript
from PIL import Image
from torch import nn

import equiaudit
from equiaudit.api.reading import settled_task
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.setup import plan_of
from equiaudit.errors import InputError
from equiaudit.models import Preprocess, PreprocessOverrides, load, preprocess_toml
from equiaudit.models.preprocess import parse_preprocess

SIZE = (16, 16)
HOW = {"size": SIZE, "mean": (0, 0, 0), "std": (1, 1, 1)}
PLAIN = "size = [16, 16]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"
QUICK = {"offsets": 2, "max_shift": 2, "shifts": "circular", "accuracy_check": False}


class Above(nn.Module):
    """Scores of twelve classes that are never negative, as behind a last ReLU: as pixels are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.last = nn.Conv2d(8, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.last(torch.relu(self.first(x)))).mean((2, 3))
        return y + torch.linspace(0, 12, 12)


class Two(Above):
    """Six scores of classes, and three other numbers."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.last(torch.relu(self.first(x))).mean((2, 3))
        return y[:, :3], y[:, 3:9]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def archive(tmp_path):
    return write_torchscript(Above().eval(), tmp_path / "net.pt", torch.rand(2, 3, *SIZE))


def beside(path, text):
    path.with_name(f"{path.name}.toml").write_text(PLAIN + text)
    return path


def test_what_is_written_reads_back():
    reading = {
        "task": "binary",
        "output": 'a "b"\\\x7f\n\N{SNOWMAN}\U0001f600',
        "output_layout": "NHWC",
        "threshold": 0.25,
        "detector": {"format": "rows", "boxes": "b", "strides": [8, 16]},
    }
    text = preprocess_toml(Preprocess(SIZE, (0.0,), (1.0,), channels="gray", reading=reading))
    found = parse_preprocess(text, where="here", source="there")
    assert {key: found[key].value for key in reading} == reading
    assert found["layout"].value == "NCHW"


@pytest.mark.parametrize(
    "line", ["task = 'boxes'", "threshold = 1", "output = 3", "output_layout = 'HWC'", "task = []"]
)
def test_what_is_no_reading_is_refused(line):
    with pytest.raises(InputError, match=line.partition(" ")[0]):
        parse_preprocess(line, where="here", source="there")


def test_a_task_beside_the_model_is_as_good_as_a_flag(archive, images):
    with pytest.raises(InputError, match="as pixels would"):
        load(archive, preprocess=PreprocessOverrides(size=SIZE, mean=(0,) * 3, std=(1,) * 3))
    found = load(beside(archive, 'task = "classification"'))
    assert (found.task, found.task_source) == ("classification", "sidecar net.pt.toml")
    assert settled_task(found, images) is found
    assert "task" not in found.preprocess.plain["source"]
    flagged = load(archive, task="regression")
    assert (flagged.task, flagged.task_source) == ("regression", "flag --task")


def test_a_threshold_is_of_the_task_beside_it(archive):
    beside(archive, 'task = "multilabel"\nthreshold = 0.3')
    assert load(archive).threshold == 0.3
    assert load(archive, threshold=0.6).threshold == 0.6
    assert load(archive, task="classification").threshold is None


def test_what_is_said_of_one_output_holds_for_no_other(tmp_path):
    path = write_torchscript(Two().eval(), tmp_path / "two.pt", torch.rand(2, 3, *SIZE))
    beside(path, 'task = "embedding"\noutput = "1"')
    taken = load(path)
    assert (taken.output, taken.task) == ("1", "embedding")
    other = load(path, output="0")
    assert (other.output, other.task, other.task_source) == ("0", "classification", "")
    beside(path, "threshold = 0.3")
    with pytest.raises(InputError, match="The threshold of sidecar"):
        load(path)


def test_what_fix_writes_is_read_as_the_original_was(tmp_path, images):
    out = tmp_path / "fixed.pt"
    equiaudit.fix(Above().eval(), out, method="mass", task="classification", seconds=0, **HOW)
    result = equiaudit.scan(out, images, **QUICK)
    assert result.fingerprint.task == "classification"
    assert float(result.metric("circular.consistency")) == 1
    out.with_name(f"{out.name}.toml").unlink()  # It says so itself too.
    assert load(out).task_source != ""


def test_an_onnx_file_keeps_the_name_of_the_output_taken(tmp_path):
    path = write_onnx(Two().eval(), tmp_path / "two.onnx", torch.rand(2, 3, *SIZE))
    name = load(
        path, preprocess=PreprocessOverrides(mean=(0,) * 3, std=(1,) * 3), output="1"
    ).output
    how = {**HOW, "output_name": "1", "task": "embedding", "seconds": 0}
    out = tmp_path / "fixed.onnx"
    equiaudit.fix(path, out, method="canonical", **how)
    found = load(out)
    assert (found.output, found.task) == (name, "embedding")
    # Nothing tells its stride now, and it is scanned at the offsets of the original all the same.
    before = load(path, preprocess=PreprocessOverrides(**HOW), output="1", task="embedding")
    assert before.total_stride == (2, 2)
    assert (found.total_stride, found.plan_stride) == (None, (2, 2))
    plans = [plan_of(model, ScanOptions(max_shift=2, offsets=2)) for model in (before, found)]
    assert plans[0] == plans[1]


def test_what_a_scan_knows_is_kept_on_request(archive, images, capsys):
    sidecar = archive.with_name("net.pt.toml")
    equiaudit.scan(archive, images, task="classification", **HOW, **QUICK)
    assert not sidecar.exists()
    with pytest.raises(InputError, match="is not known"):
        equiaudit.scan(archive, images, **QUICK)
    equiaudit.scan(archive, images, task="classification", save_preprocess=True, **HOW, **QUICK)
    kept = sidecar.read_text()
    assert 'task = "classification"' in kept
    again = equiaudit.scan(archive, images, save_preprocess=True, **QUICK)
    assert again.fingerprint.task == "classification"
    sidecar.write_text(f"# mine\n{kept}")
    equiaudit.scan(archive, images, save_preprocess=True, **QUICK)
    assert sidecar.read_text().startswith("# mine")


def test_nothing_is_kept_of_what_is_no_file(tmp_path, archive):
    with pytest.raises(InputError, match="save_preprocess=True writes beside a model file"):
        equiaudit.scan(Above(), tmp_path, save_preprocess=True, **HOW)
    with pytest.raises(InputError, match="a dry run loads no images"):
        equiaudit.fix(archive, None, dry_run=True, save_preprocess=True, **HOW)


def test_verify_takes_from_either_what_the_other_lacks(tmp_path, archive, images):
    other = write_torchscript(Above().eval(), tmp_path / "other.pt", torch.rand(2, 3, *SIZE))
    beside(other, 'task = "classification"')
    how = {"seconds": 0, "limit": 1}
    for first, second in ((archive, other), (other, archive)):
        found = equiaudit.verify(first, images, against=second, **how)
        assert found.control is not None
    with pytest.raises(InputError, match=r"net\.pt is not known"):
        equiaudit.verify(archive, images, **how)
