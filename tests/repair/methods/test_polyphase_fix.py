"""fix, from the model to the file, with methods that choose and filter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from repair import repair_nets as nets
from torch import nn

from equiaudit.errors import InputError, NothingToDo
from equiaudit.models.types import Model, Preprocess
from equiaudit.repair.methods import FixOptions
from equiaudit.repair.pipeline import fix

SIZE = (16, 24)


def model_of(net: nn.Module) -> Model:
    return Model(
        name="net.pt",
        kind="module",
        run=net,
        preprocess=Preprocess(size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3),
        task="classification",
        device=torch.device("cpu"),
        sha256="0" * 64,
        backend="torch",
        module=net,
    )


def test_an_exact_method_is_verified_to_the_bit(tmp_path: Path) -> None:
    options = FixOptions(method="lps+lpf", comparisons=64, devices=("cpu",))
    report = fix(model_of(nets.TinyResNet()), tmp_path / "fixed.pt", options)
    assert report.outcome == "written"
    assert all(record.figures.exact and record.control_failed for record in report.verifications)
    assert report.cost_before is not None
    assert report.cost_after is not None
    assert report.cost_after.parameters > report.cost_before.parameters
    plain = torch.jit.load(tmp_path / "fixed.pt")
    assert not any("Selector" in type(m).__name__ for m in plain.modules())


@pytest.mark.parametrize(("method", "window"), [("ddac", None), ("aps", 1)])
def test_an_inexact_method_is_written_and_measured(
    tmp_path: Path, method: str, window: int | None
) -> None:
    options = FixOptions(method=method, window=window, comparisons=64, devices=("cpu",))
    report = fix(model_of(nets.TinyResNet()), tmp_path / "fixed.pt", options)
    assert report.outcome == "written"
    assert not any(record.figures.exact for record in report.verifications)
    assert not any(record.claimed for record in report.verifications)


def test_a_net_that_samples_nothing_is_left_alone(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    options = FixOptions(method="lpf", comparisons=64)
    with pytest.raises(NothingToDo, match="no strided convolution or pool"):
        fix(model_of(net), tmp_path / "fixed.pt", options)


def test_methods_without_a_choice_refuse_a_window(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="window"):
        fix(model_of(nets.TinyResNet()), tmp_path / "x.pt", FixOptions(method="lpf", window=2))
