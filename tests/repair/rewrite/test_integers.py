"""Graphs of torch that compute in integers: read, run alone where needed, fixed as they are."""

from __future__ import annotations

import warnings

import pytest
import torch
from quantised import write_pt2e
from torch import nn

import equiaudit
from equiaudit.errors import NothingToDo

SIDE = 16
GIVEN = {"size": (SIDE, SIDE), "mean": (0.5,) * 3, "std": (0.25,) * 3, "device": "cpu"}
ALONE = "one image at a time"


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip


def example(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def stored(path) -> tuple[set[bytes], list[object]]:
    """The int8 tensors of an exported program, and the arguments of its roundings."""
    program = torch.export.load(path)
    tensors = [*program.state_dict.values(), *program.constants.values()]
    integers = {t.numpy().tobytes() for t in tensors if t.dtype == torch.int8}
    calls = [n.args[1:] for n in program.graph.nodes if "ze_per_tensor" in str(n.target)]
    return integers, calls


def test_a_graph_of_pt2e_keeps_its_integers_and_scales(tmp_path):
    path, fixed = write_pt2e(net(), tmp_path / "m.pt2", example()), tmp_path / "fixed.pt2"
    found = equiaudit.fix(path, fixed, method="mass", seconds=1, **GIVEN).verifications[-1]
    assert (found.passed, found.figures.exact, found.control.passed) == (True, True, False)
    assert found.phases == found.phases_total
    assert stored(fixed) == stored(path)
    assert len(stored(path)[0]) == 3
    assert equiaudit.verify(fixed, against=path, seconds=1, **GIVEN).passed


@pytest.mark.filterwarnings("ignore")
def test_as_torchscript_it_needs_torch_alone(tmp_path):
    path = write_pt2e(net(), tmp_path / "m.pt2", example())
    equiaudit.fix(path, tmp_path / "fixed.pt", method="mass", seconds=1, **GIVEN)
    script = torch.jit.load(tmp_path / "fixed.pt")
    assert "quantized_decomposed" not in str(script.inlined_graph)
    kinds = {t.dtype for _, t in script.named_buffers() if t.dim() == 4}
    assert kinds == {torch.int8}


def scripted(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)
        torch.jit.save(torch.jit.trace(module, example()), path)
    return module, path


@pytest.mark.filterwarnings("ignore")
def test_scales_of_a_whole_batch_are_those_of_one_image(tmp_path):
    """In exported graphs, TorchScript and modules; the control is the net as torch runs it."""
    module, script = scripted(tmp_path / "m.pt")
    exported = write_pt2e(net(), tmp_path / "m.pt2", example(), dynamic=True)
    pixels = example(3) * torch.tensor([0.1, 1, 9]).reshape(3, 1, 1, 1)
    for source in (module, script, exported):
        model = equiaudit.load_model(source, **GIVEN)
        assert any(ALONE in note for note in model.notes)
        alone = torch.cat([model.run(image[None]) for image in pixels])
        assert torch.equal(model.run(pixels), alone)
    with torch.no_grad():
        assert not torch.equal(module(pixels), alone)
    assert not any(ALONE in note for note in equiaudit.load_model(net(), **GIVEN).notes)
    with pytest.raises(NothingToDo, match="largest value in the whole batch"):
        equiaudit.fix(exported, tmp_path / "fixed.pt2", method="mass", seconds=1, **GIVEN)
