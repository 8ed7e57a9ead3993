"""The table of a GPU, rehearsed on the CPU: what it runs, and that it can say no."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu
import gpu_exactness
from exact_nets import captured, photos
from gpu_exactness import Session

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite


@pytest.fixture
def here():
    return Session("cpu", small=True)


def test_without_a_device_it_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 2
    assert capsys.readouterr().out.startswith("There is no CUDA device here: nothing was run")


@pytest.mark.parametrize("title", ["canonical", "Scan over bare passes", "Ending early", "Memory"])
def test_a_section_holds(here, title):
    text = "\n".join(gpu.table(here, [title]))
    assert "holds: yes" in text
    assert text.endswith("All holds.")


def test_a_net_is_a_row_and_the_unmodified_one_fails(here, monkeypatch):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    row = gpu_exactness._exact_row(here, "net", net, photos(2, (16, 16)), gpu_exactness.measure)
    assert row.startswith("| net | 100.00% | 0.0e+00 |")
    assert here.failed == []
    monkeypatch.setattr(gpu_exactness, "rewrite", lambda graph, _: graph)
    row = gpu_exactness._exact_row(here, "net", net, photos(2, (16, 16)), gpu_exactness.measure)
    assert "**no** | conv2d" in row
    assert here.failed == ["net is exact"]


class Sharpened(nn.Module):
    """Every op but the last only moves with the image."""

    def forward(self, x):
        y = F.pad(x, (1, 1, 1, 1), mode="circular")
        y = (y[:, :, 1:-1, 2:] - x).relu()
        ramp = torch.arange(16, dtype=torch.float32)
        return (y * ramp).sum((2, 3))


def test_the_op_that_differs_is_named():
    graph, x = captured(Sharpened(), (16, 16)), photos(2, (16, 16))
    name, _, target = gpu_exactness.first_difference(graph, x).partition(" ")
    assert (name, target) == ("mul", "(aten.mul.Tensor)")
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    graph = captured(net, (16, 16))
    assert gpu_exactness.first_difference(rewrite(graph, analyse(graph)), x) == ""


def test_the_order_of_values_does_not_count():
    x = torch.randn(2, 3, 8, 8)
    moved = x.roll((3, 1), (2, 3))
    assert torch.equal(gpu_exactness._values(x), gpu_exactness._values(moved))
    moved[0, 0, 0, 0] = torch.nextafter(moved[0, 0, 0, 0], torch.tensor(9.0))
    assert gpu_exactness._values(x)[0] != gpu_exactness._values(moved)[0]


def test_what_fails_is_said_and_the_next_begins(here, monkeypatch):
    def broken(_):
        yield "begun"
        raise RuntimeError("no such kernel\nmore")

    monkeypatch.setitem(gpu.SECTIONS, "ONNX", broken)
    text = "\n".join(gpu.table(here, ["ONNX", "canonical"]))
    assert "Failed: RuntimeError: no such kernel" in text
    assert "holds: yes" in text
    assert text.endswith("What does not hold: ONNX")


def test_without_time_nothing_runs(here):
    here.ends = 0.0
    assert "Not run: the time was up." in "\n".join(gpu.table(here, ["canonical"]))
    assert all("not run" in line for line in list(gpu_exactness.exactness(here))[1:])
