"""Embeddings, numbers and heat maps are fixed and verified; the cost is said in their figures."""

from __future__ import annotations

import pytest
import torch
from loops import OF_MODEL, write_images
from torch import nn
from torch.nn import functional as F

import equiaudit
from equiaudit.report.loss import cost_in_words


class Net(nn.Module):
    """A strided net, in its three forms."""

    def __init__(self, head, stride=2):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3, stride=stride, padding=1), head

    def forward(self, x):
        return self.head(self.conv(x).relu())


TASKS = {
    "embedding": (lambda m: F.normalize(m.mean((2, 3))), "Cosine distance "),
    "regression": (lambda m: m.mean((2, 3))[:, :2], "Change "),
    "heatmap": (lambda m: m[:, :3], "Displacement "),
}


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data", 4)


@pytest.mark.parametrize(
    ("task", "method"),
    [("embedding", "mass"), ("regression", "canonical"), ("heatmap", "mass")],
)
def test_what_is_fixed_verifies_and_the_cost_is_the_tasks(task, method, data, tmp_path):
    head, said = TASKS[task]
    net, how = Net(head).eval(), dict(OF_MODEL)
    report = equiaudit.fix(
        net,
        tmp_path / "fixed.pt2",
        method=method,
        task=task,
        data=data,
        seconds=1,
        max_shift=4,
        offsets=3,
        **how,
    )
    assert report.outcome == "written"
    words = cost_in_words(report)
    assert words.startswith(said)
    assert "under circular shifts on your 4 images" in words
    name = f"circular.{'displacement_max' if task == 'heatmap' else TASKS_CHANGE[task]}"
    assert float(report.before[name]) > 0
    if task != "heatmap":  # maps of half the size know no shifts between their pixels
        assert float(report.after[name]) == 0
    asked = {"task": task, **{k: v for k, v in how.items() if k != "stride"}}
    checked = equiaudit.verify(tmp_path / "fixed.pt2", against=net, seconds=1, **asked)
    assert checked.passed
    assert not equiaudit.verify(net, seconds=1, **asked).passed


TASKS_CHANGE = {"embedding": "cosine_distance_max", "regression": "change_max"}
