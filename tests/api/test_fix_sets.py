"""`fix` of models that decide by a threshold: verified, and what it costs in their own measure."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tasks"))

from deciding import OF_MODEL, every_output, images

import equiaudit
from equiaudit.api.losses import loss_between
from equiaudit.report.loss import cost_in_words
from equiaudit.tasks.multilabel.records import SetRecord


class Convs(nn.Module):
    """Strided convolutions and a head with a sigmoid per class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.linear = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.b(self.a(x).relu()).mean((2, 3))
        return (60 * (self.linear(y) - self.linear(torch.full((1, 8), 0.02)))).sigmoid()


HOW = {k: v for k, v in OF_MODEL.items() if k != "stride"} | {"max_shift": 4, "offsets": 8}


@pytest.mark.parametrize("method", ["canonical", "mass"])
def test_several_labels_are_verified_and_cost_f1(tmp_path, method):
    data, net = images(tmp_path / "data", count=12), Convs(3).eval()
    clean = [one for one, _ in every_output(net, data, "multilabel")["circular"]]
    table = tmp_path / "labels.csv"
    own = ["|".join(map(str, np.flatnonzero(one > 0.5))) for one in clean]
    table.write_text("file,labels\n" + "".join(f"{i:02d}.png,{s}\n" for i, s in enumerate(own)))
    example = torch.rand(2, 3, 16, 16)
    torch.onnx.export(
        net,
        (example,),
        tmp_path / "net.onnx",
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )
    out = tmp_path / "out.onnx"
    how = HOW | {"method": method, "data": data}
    report = equiaudit.fix(tmp_path / "net.onnx", out, labels=table, max_accuracy_drop=1.0, **how)
    assert report.outcome == "written"
    assert all(record.passed for record in report.verifications)
    assert report.loss.measure == "F1"
    assert float(report.loss.before) == 1
    assert float(report.loss.lost) == pytest.approx(1 - float(report.loss.after), abs=1e-12)
    assert cost_in_words(report).startswith("F1 100% -> ")
    assert float(report.after["circular.set_consistency"]) == 1
    assert float(report.before["circular.set_consistency"]) < 1  # the control
    counted = report.verifications[0].figures
    assert counted.labels == 3 * counted.comparisons  # each class is a decision


def test_without_labels_it_says_how_many_sets_change():
    a, b = ({"clean": clean, "unreadable": None} for clean in ("80", "40"))
    before = [SetRecord(i, f"{i}", "", classes=3, **a) for i in range(10)]
    after = [SetRecord(i, f"{i}", "", classes=3, **(a if i else b)) for i in range(10)]
    loss = loss_between(
        "multilabel",
        before,
        after,
        labelled=False,
        pixels=lambda: None,
        allowed=0.01,
        seed=0,
    )
    assert (loss.measure, float(loss.lost), loss.verdict) == ("sets", 0.1, "not judged")
