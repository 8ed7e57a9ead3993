"""TopK and sort: over classes they are carried along, over positions they are refused."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from exact_nets import captured, photos
from torch import Tensor, nn

import equiaudit
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

SIZE = (16, 24)


class Net(nn.Module):
    """Two strides, then the strongest of the classes: of each pixel, or of the image."""

    def __init__(self, over: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.over = over
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.trunk(x) * 20
        if self.over == "image":
            return tuple(y.relu().mean((2, 3)).softmax(1).topk(3))
        y = F.interpolate(y, scale_factor=4.0)
        if self.over == "positions":
            return tuple(y.sigmoid().flatten(1).topk(3))
        if self.over == "place":
            return (y.flatten(1).argmax(1),)
        if self.over == "tokens":
            return tuple(y.flatten(2).topk(3))
        return (*y.topk(2, dim=1), y.sort(dim=1, stable=True)[1])


@torch.no_grad()
def test_the_strongest_classes_of_each_pixel_go_with_it() -> None:
    net, x = Net("pixels").eval(), photos(1, SIZE)
    graph = captured(net, SIZE)
    fixed = rewrite(graph, analyse(graph))
    for shift in ((1, 0), (3, 5), (2, 7)):
        moved = torch.roll(x, shift, (-2, -1))
        for before, after in zip(fixed(x), fixed(moved), strict=True):
            assert torch.equal(after, torch.roll(before, shift, (-2, -1)))
    control = torch.roll(net(x)[1], (1, 0), (-2, -1))
    assert not torch.equal(net(torch.roll(x, (1, 0), (-2, -1)))[1], control)


@pytest.mark.parametrize("over", ["positions", "place", "tokens"])
def test_the_strongest_positions_are_refused(over: str) -> None:
    refusals = analyse(captured(Net(over).eval(), SIZE)).refusals
    assert "would have to move with" in refusals[0].reason


def test_a_file_that_ends_in_topk_is_fixed(tmp_path: Path) -> None:
    source, out = tmp_path / "topk.onnx", tmp_path / "fixed.onnx"
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        Net("image").eval(), (torch.rand(2, 3, *SIZE),), source, dynamo=True, verbose=False,
        dynamic_shapes=(batch,), output_names=["scores", "ids"],
    )  # fmt: skip
    equiaudit.fix(source, out, mean=(0.5,) * 3, std=(0.25,) * 3, seconds=0.5, method="mass")
    x = photos(1, SIZE).numpy()
    for path, equal in ((source, False), (out, True)):
        run = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = run.get_inputs()[0].name
        assert [o.name for o in run.get_outputs()] == ["scores", "ids"]
        before, ids = run.run(None, {name: x})
        after, same = run.run(None, {name: torch.roll(torch.from_numpy(x), (1, 3), (2, 3)).numpy()})
        assert ((before == after).all() and (ids == same).all()) == equal
