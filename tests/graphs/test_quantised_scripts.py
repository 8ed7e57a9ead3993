"""TorchScript that torch.ao quantised: computed as what its integers stand for, stored as those."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

import equiaudit
from equiaudit.errors import NothingToDo
from equiaudit.graphs.capture import capture

SIZE = (16, 16)
PLAIN = {"size": SIZE, "mean": (0.0,) * 3, "std": (1.0,) * 3}
pytestmark = pytest.mark.filterwarnings("ignore")


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(count))


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        ao.QuantStub(), nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), ao.DeQuantStub(),
    )  # fmt: skip
    return net.eval()


@pytest.fixture(scope="module")
def quantised() -> torch.jit.ScriptModule:
    engine = torch.backends.quantized.engine
    net = ao.fuse_modules(plain(), [["1", "2"]])
    net.qconfig = ao.get_default_qconfig("qnnpack" if engine == "qnnpack" else "fbgemm")
    ready = ao.prepare(net)
    ready(images(16))
    return torch.jit.script(ao.convert(ready))


def test_its_graph_rounds_as_it_does(quantised: torch.jit.ScriptModule) -> None:
    found = capture(quantised, size=SIZE)
    x = images(6)
    with torch.no_grad():
        ours, theirs = found.graph_module(x), quantised(x)
    spread = theirs.max() - theirs.min()
    assert (ours - theirs).abs().max() < 0.05 * spread  # a step or two of the last scale
    assert (ours - theirs).abs().mean() < 0.01 * spread
    stored = [t for t in found.graph_module.state_dict().values() if t.dtype == torch.int8]
    assert len(stored) == 3
    assert any("differs from the model by" in note for note in found.notes)


def test_a_graph_that_computes_something_else_is_not_taken(
    quantised: torch.jit.ScriptModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equiaudit.graphs import integers

    right = integers._stands_for
    monkeypatch.setattr(integers, "_stands_for", lambda q, value: value.shape == q.shape)
    monkeypatch.setattr(
        integers,
        "_unpacked",
        lambda module, unpacked=integers._unpacked: _doubled(unpacked(module)),
    )
    with pytest.raises(NothingToDo, match="differs from the model"):
        capture(quantised, size=SIZE)
    monkeypatch.setattr(integers, "_stands_for", right)  # scales that do not fit stay floats
    found = capture(quantised, size=SIZE)
    assert not any(t.dtype == torch.int8 for t in found.graph_module.state_dict().values())


def _doubled(weight: torch.Tensor | None) -> torch.Tensor | None:
    if weight is None:
        return None
    scales = 2 * weight.q_per_channel_scales()
    whole = weight.q_per_channel_zero_points()
    return torch._make_per_channel_quantized_tensor(weight.int_repr(), scales, whole, 0)


def test_mass_keeps_its_integers(quantised: torch.jit.ScriptModule, tmp_path: Path) -> None:
    torch.jit.save(quantised, tmp_path / "net.pt")
    report = equiaudit.fix(
        tmp_path / "net.pt", tmp_path / "a.pt", method="mass", seconds=0.2, **PLAIN
    )
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    fixed = torch.jit.load(tmp_path / "a.pt")
    assert sum(t.dtype == torch.int8 for t in fixed.state_dict().values()) == 3
    x = images(4)
    changed = 0
    with torch.no_grad():
        for shift in ((1, 0), (0, 3), (5, 2), (8, 13)):
            moved = torch.roll(x, shift, (2, 3))
            assert torch.equal(fixed(x), fixed(moved))
            changed += int(not torch.equal(quantised(x), quantised(moved)))
    assert changed == 4


def test_scales_of_a_whole_batch_are_refused() -> None:
    net = ao.quantize_dynamic(plain()[1:-1], {nn.Linear})
    with pytest.raises(NothingToDo, match="cannot be captured"):
        capture(torch.jit.script(net), size=SIZE)
