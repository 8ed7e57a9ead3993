"""The check of a choice of crops notices what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from repair import repair_nets as nets

from equiaudit.repair.verify.crops import Moved
from equiaudit.repair.verify.real_shifts import Labels, expectations, measured
from equiaudit.results.repair import Verification
from equiaudit.sampling.crop_select import CropSelect

MARGIN, WINDOW, INPUT = 6, (16, 24), (22, 30)


def pictures(count: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {str(i): torch.rand(3, *INPUT, generator=generator) for i in range(count)}


def middle(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, 3:19, 3:27]


class Dense(torch.nn.Module):
    """A map whose border shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 5, padding=2)
        nets.randomise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def checked(net: torch.nn.Module, dense: bool, position: object = None) -> Verification:
    fixed = CropSelect(net, MARGIN, WINDOW, dense=dense)
    if position is not None:
        fixed.position = position  # type: ignore[assignment]
    return moved(fixed, net, pictures(), dense=dense, comparisons=200)


def moved(
    fixed: torch.nn.Module,
    net: torch.nn.Module,
    images: dict[str, torch.Tensor],
    *,
    dense: bool = False,
    comparisons: int,
) -> Verification:
    check = Moved(MARGIN, WINDOW, dense)
    how = {"device": "cpu", "comparisons": comparisons, "seed": 0, "subject": "net"}
    return check(fixed, lambda x: net(middle(x)), images, **how)


@pytest.mark.parametrize("dense", [False, True])
def test_selected_crops_verify_and_the_middle_does_not(dense: bool) -> None:
    found = checked(Dense() if dense else nets.TinyResNet(), dense)
    assert found.figures.exact
    assert found.figures.comparisons > 50
    assert found.control_failed
    assert str(found.figures.comparisons) in found.coverage


class Still(torch.nn.Module):
    """Takes the same crop whatever is in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 2), MARGIN // 2)


@pytest.mark.parametrize("dense", [False, True])
def test_control_a_file_that_chooses_otherwise_fails(dense: bool) -> None:
    found = checked(Dense() if dense else nets.TinyResNet(), dense, Still())
    assert not found.passed


def test_blank_images_prove_nothing() -> None:
    net = nets.TinyResNet()
    blank = {"blank": torch.zeros(3, *INPUT)}
    found = moved(CropSelect(net, MARGIN, WINDOW), net, blank, comparisons=20)
    assert not found.passed
    assert "nothing was compared" in found.warnings[0]


def test_a_single_score_changes_its_label_where_it_crosses_the_limit() -> None:
    scenes = torch.rand(40, 3, 30, 38, generator=torch.Generator().manual_seed(3))

    def score(x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::2, ::2].mean((1, 2, 3))[:, None] - x[:, :, 1::2].mean((1, 2, 3))[:, None]

    def changes(labels: Labels) -> float:
        selected = CropSelect(Wrapped(score), MARGIN, WINDOW)
        wanted, how = expectations(MARGIN, INPUT), {"margin": MARGIN, "size": INPUT}
        row = measured(wanted, score, selected, scenes.split(20), labels=labels, **how)[0]
        return float(row.label_changes_before)

    assert changes(lambda outputs: outputs[:, 0] > 0) > 0.2
    assert changes(lambda outputs: torch.cat([outputs, -outputs], 1) > 0) > 0.2
    assert changes(lambda outputs: outputs.argmax(1)) == 0  # how it was read


class Wrapped(torch.nn.Module):
    """A function as a module."""

    def __init__(self, of: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of(x)


def test_real_shifts_are_measured_next_to_what_is_expected() -> None:
    scenes = torch.rand(400, 3, 30, 38, generator=torch.Generator().manual_seed(2))
    net = nets.TinyResNet()
    rows = measured(
        expectations(MARGIN, INPUT),
        lambda x: net(x).detach(),
        CropSelect(net, MARGIN, WINDOW),
        scenes.split(100),
        margin=MARGIN,
        size=INPUT,
        labels=lambda outputs: outputs.argmax(1),
    )
    assert [row.shift for row in rows] == [(0, 1), (1, 1), (0, 2), (2, 2), (0, 4), (4, 4)]
    for row in rows:
        assert row.same_choice is not None
        assert row.same_choice.n == 400
        assert abs(float(row.same_choice) - row.expected) < 0.09
        assert row.label_changes_after is not None
        # Bits are equal where the choice is, so labels change in no other image.
        assert float(row.label_changes_after) <= 1 - float(row.same_choice)
    assert rows[0].bound < rows[0].expected
