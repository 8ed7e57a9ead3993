"""Refusals of a reading that stand, and doubts that are kept for where the task is settled."""

import pytest
import torch
from test_readings import SEEN, read
from torch import nn
from torch.nn import functional as F

from equiaudit.errors import InputError
from equiaudit.models import load


class Positions(nn.Module):
    """Twelve numbers per image, larger for the second image of a batch."""

    def forward(self, x):
        places = torch.arange(12.0) * 0.5 + 0 * x.sum()
        return torch.stack([places * (i + 1) for i in range(len(x))])


class OneImage(nn.Module):
    """Twelve numbers for a batch of one."""

    def forward(self, x):
        assert len(x) == 1
        return torch.arange(12.0)[None] + 0 * x.sum()


@pytest.mark.parametrize("net", [Positions(), OneImage()])
def test_a_refusal_is_not_passed_by_with_another_batch(net):
    with pytest.raises(InputError, match="looks like positions") as caught:
        load(net, preprocess=SEEN, device="cpu")
    assert "--task classification" in caught.value.tip
    assert load(net, preprocess=SEEN, device="cpu", task="classification").num_classes == 12


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        lambda n, m, v: m[:, :5].sigmoid(),
        lambda n, m, v: m[:, :5].sigmoid().permute(0, 2, 3, 1),
        lambda n, m, v: F.interpolate(m[:, :5].sigmoid(), scale_factor=2),
        lambda n, m, v: F.interpolate(m[:, :5].sigmoid(), scale_factor=2, mode="bilinear"),
        lambda n, m, v: (m[:, :5] + 0.5).clamp(0, 1),
    ],
)
def test_channels_that_may_be_right_together_are_a_doubt(head, as_file, tmp_path):
    path = tmp_path / "m.onnx" if as_file else None
    assert "may be right together" in read(head, onnx_file=path).doubt
    path = tmp_path / "again.onnx" if as_file else None
    assert read(head, onnx_file=path, task="segmentation").doubt == ""


@pytest.mark.parametrize(
    "head",
    [
        lambda n, m, v: m[:, :5],
        lambda n, m, v: m[:, :5].softmax(1),
        lambda n, m, v: m[:, :5] * 0.01 + 0.5,
        lambda n, m, v: m[:, :1].sigmoid(),
        lambda n, m, v: m[:, :5].argmax(1),
    ],
)
def test_scores_of_one_class_per_pixel_are_no_doubt(head):
    assert read(head).doubt == ""
