"""What is asked of moved windows, and what training on them brings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
import training_cases as case
from torch import Tensor, fx, nn

from equiaudit.graphs.capture import capture
from equiaudit.repair.verify.circular import verify
from equiaudit.training import Examples, TrainingOptions, recover
from equiaudit.training.losses import ScoreLosses
from equiaudit.training.objective import Distillation, Labels
from equiaudit.training.student import with_features

CPU = torch.device("cpu")
MOVED = TrainingOptions(zero_pad=0.6, roll=0.4, overlap=1.0)
BLACK = TrainingOptions(zero_pad=1.0, roll=0.0)


class Pointwise(nn.Module):
    """Two classes from each pixel alone, at the image's size or at half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return 3 * self.conv(x)


class Contrast(nn.Module):
    """Sees an object wherever a pixel differs from its neighbours, as it does beside black."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 5, padding=2, padding_mode="circular")
        self.second = nn.Conv2d(12, 12, 3, padding=1, padding_mode="circular")
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def graph(net: nn.Module) -> fx.GraphModule:
    return capture(net.eval(), size=case.SIZE).graph_module


def photos(count: int, seed: int = 0) -> Examples:
    """Grey, a bright square on each, which the masks hold."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 120, (count, 32, 32, 3)).astype(np.uint8)
    masks = np.zeros((count, 32, 32), np.int16)
    for image, mask in zip(pixels, masks, strict=True):
        y, x = rng.integers(0, 28, 2)
        image[y : y + 4, x : x + 4] += 90
        mask[y : y + 4, x : x + 4] = 1
    return Examples(list(pixels), case.HOW, masks=list(masks))


def distance(
    net: fx.GraphModule, teacher: fx.GraphModule, options: TrainingOptions, examples: Examples
) -> float:
    objective = Distillation.of(teacher, examples, options, ScoreLosses(), CPU, dense=True)
    index = np.arange(len(examples))
    with torch.no_grad():
        return objective.held_out_loss(with_features(net), examples, index).item()


def test_what_the_original_says_moves_along_with_the_window() -> None:
    """A net that looks at single pixels agrees with itself wherever these went."""
    torch.manual_seed(0)
    net, other = graph(Pointwise()), graph(Pointwise())
    examples = photos(12)
    assert distance(net, net, MOVED, examples) < 1e-6
    assert distance(other, net, MOVED, examples) > 1e-2


def test_masks_move_along_too() -> None:
    net = Pointwise()
    with torch.no_grad():  # bright pixels are objects: (150 / 255 - 0.5) / 0.25
        net.conv.weight.copy_(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))
        net.conv.bias.copy_(torch.tensor([9.0, -9.0]) * 3 * (150 / 255 - 0.5) / 0.25)
    objective = Labels(MOVED, ScoreLosses(), CPU, dense=True)
    examples = photos(12)
    with torch.no_grad():
        losses = [
            objective.held_out_loss(with_features(graph(net)), some, np.arange(12)).item()
            for some in (examples, Examples(examples.photos, case.HOW, masks=examples.masks[::-1]))
        ]
    assert losses[0] < 1e-3
    assert losses[1] > 0.1


@cache
def contrast() -> fx.GraphModule:
    """Fitted to the masks of windows as they are: black at a border is new to it."""
    torch.manual_seed(0)
    options = TrainingOptions(
        finetune=12, finetune_rate=0.1, zero_pad=0.0, holdout=0.0, average=0.0, frozen_norm=True
    )
    net, _ = recover(graph(Contrast()), graph(Contrast()), photos(48), options)
    return net


Black = Callable[[fx.GraphModule], float]


def to_original(net: fx.GraphModule) -> float:
    return distance(net, contrast(), BLACK, photos(24, seed=5))


def to_masks(net: fx.GraphModule) -> float:
    objective, examples = Labels(BLACK, ScoreLosses(), CPU, dense=True), photos(24, seed=5)
    with torch.no_grad():
        return objective.held_out_loss(with_features(net), examples, np.arange(24)).item()


@pytest.mark.parametrize(("stage", "error"), [("distil", to_original), ("finetune", to_masks)])
def test_a_net_that_black_disturbs_learns_to_bear_it(stage: str, error: Black) -> None:
    def trained(share: float) -> float:
        options = TrainingOptions(
            **{stage: 12}, distil_rate=0.02, finetune_rate=0.02, zero_pad=share, patience=99
        )
        net, record = recover(contrast(), contrast(), photos(60, seed=1), options)
        return error(net), record.stages[0]

    before = error(contrast())
    (with_black, stage_with), (without, _) = trained(0.5), trained(0.0)
    assert with_black < 0.6 * before
    assert with_black < 0.8 * without
    assert stage_with.loss_after < stage_with.loss_before


def test_the_held_out_loss_is_the_same_every_time_and_the_mean_of_several_windows() -> None:
    torch.manual_seed(0)
    net, examples, index = graph(Contrast()), photos(12), np.arange(12)
    objective = Labels(BLACK, ScoreLosses(), CPU, dense=True)
    seen: list[np.ndarray] = []

    class Counting(Examples):
        def windows(self, *args: object) -> object:
            windows = super().windows(*args)
            seen.append(windows.moved)
            return windows

    counted = Counting(examples.photos, case.HOW, masks=examples.masks)
    tapped = with_features(net)
    with torch.no_grad():
        first, again = (objective.held_out_loss(tapped, counted, index) for _ in range(2))
    assert first == again
    assert len(seen) == 8
    assert all(np.array_equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True))
    assert not np.array_equal(seen[0], seen[1])


def test_training_on_moved_windows_keeps_the_net_exact() -> None:
    options = TrainingOptions(distil=2, zero_pad=0.5)
    net, _ = recover(case.disturbed(), case.original(), case.examples(), options)
    images = {str(i): x for i, x in enumerate(next(case.examples(8).batches(8, CPU)))}
    record = verify(net, case.original(), images, total_stride=(4, 4), comparisons=128)
    assert record.figures.exact
    assert record.control_failed
