"""Ways to hide an operator that touches files in the code of a TorchScript archive."""

import zipfile

import pytest
import torch
from artefacts import write_torchscript
from torch import nn

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.script_code import check_script_classes, check_script_code
from equiaudit.models.sniff import sniff

SEEN = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


class Saves(nn.Module):
    def forward(self, x):
        torch.save(x, "ran")
        return x.mean((2, 3))


def lines(text):
    return f"def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n  {text}\n  return x\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('torch.save(x, "ran")', "torch.save"),
        ('torch . save (x, "ran")', "torch.save"),
        ('torch.\\\n    save(x, "ran")', "torch.save"),
        ('f = torch.save\n  f(x, "ran")', "torch.save"),
        ('t = torch\n  t.save(x, "ran")', "torch"),
        ('getattr(torch, "sa" "ve")(x, "ran")', "torch"),
        ('getattr(ops.aten, "save")(x, "ran")', "ops.aten"),
        ('y = torch.from_file("/etc/passwd")', "torch.from_file"),
        ('ops.image.write_file("ran", x)', "ops.image.write_file"),
        ('rpc_async("worker", "f")', "rpc_async"),
    ],
)
def test_what_is_hidden_is_named(text, name):
    with pytest.raises(InputError, match=rf"\({name}\) and was not loaded"):
        check_script_code(lines(text), what="net.pt")


def test_control_what_nets_do_is_let_through():
    check_script_code(
        lines(
            'y = getattr(self.layers, "0").forward(torch.add(x, CONSTANTS.c0), )\n'
            '  ops.prim.RaiseException("no")\n  z = ops.torchvision.nms(y, y, 0.5)\n'
            "  save = (self.save).forward(x, )"
        ),
        what="net.pt",
    )


@pytest.mark.parametrize("text", ["def f(:", "(" * 5000, "\0"])
def test_code_that_cannot_be_read_is_refused(text):
    with pytest.raises(InputError, match="cannot be checked"):
        check_script_code(text, what="net.pt")


def test_classes_that_open_more_than_weights_are_refused():
    check_script_classes("c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\n", what="a")
    with pytest.raises(InputError, match=r"torch\.classes\.c10d"):
        check_script_classes("c__torch__.torch\nclasses.c10d.Store\n", what="a")


@pytest.mark.parametrize(
    "rename", [lambda n: n.replace("code/", "CODE/"), lambda n: n.replace(".py", ".PY")]
)
def test_members_are_checked_in_any_case(tmp_path, monkeypatch, rename):
    monkeypatch.chdir(tmp_path)
    good = write_torchscript(Saves(), tmp_path / "a.pt", torch.zeros(2, 3, 16, 16), scripted=True)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(rename(name), old.read(name))
    with pytest.raises(InputError):
        load(tmp_path / "b.pt", preprocess=SEEN)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_unpacks_to_far_more_is_not_opened(tmp_path):
    path = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("net/data.pkl", "w", force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    with pytest.raises(InputError, match="would unpack to"):
        sniff(path)
