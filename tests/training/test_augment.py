from __future__ import annotations

import numpy as np
import torch

from equiaudit.training import Augmentation
from equiaudit.training.augment import mixed


def ramp(count: int, height: int = 6, width: int = 8) -> torch.Tensor:
    """Every pixel of an image has a value of its own."""
    return torch.arange(height * width).reshape(1, 1, height, width).repeat(count, 2, 1, 1).float()


def shifted_by_a_loop(x: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    crop = max(abs(dy), abs(dx), 1)
    padded = torch.nn.functional.pad(x[None], (crop,) * 4, mode="reflect")[0]
    height, width = x.shape[1:]
    return padded[:, crop - dy : crop - dy + height, crop - dx : crop - dx + width]


def all_views(x: torch.Tensor, crop: int) -> list[torch.Tensor]:
    moves = range(-crop, crop + 1)
    views = [shifted_by_a_loop(x, dy, dx) for dy in moves for dx in moves]
    return [*views, *(view.flip(2) for view in views)]


def test_every_result_is_one_of_the_views_and_all_kinds_occur() -> None:
    x = ramp(200)
    moved, _ = Augmentation(crop=2)(x, np.random.default_rng(0))
    views = all_views(x[0], 2)
    seen = [next((i for i, v in enumerate(views) if torch.equal(v, m)), None) for m in moved]
    assert None not in seen
    assert len(set(seen)) > 40


def test_shifts_on_the_torus_keep_every_pixel() -> None:
    x = ramp(50)
    moved, _ = Augmentation(crop=0, roll=1.0, flip=False)(x, np.random.default_rng(0))
    assert torch.equal(moved.flatten(1).sort(1).values, x.flatten(1).sort(1).values)
    assert not torch.equal(moved, x)


def test_a_mask_moves_with_its_image() -> None:
    x = ramp(40)
    moved, mask = Augmentation(crop=2, roll=0.3)(x, np.random.default_rng(0), x[:, 0].long())
    assert torch.equal(mask, moved[:, 0].long())


def test_nothing_moves_where_nothing_may() -> None:
    x = ramp(10)
    moved, _ = Augmentation(crop=0, flip=False)(x, np.random.default_rng(0))
    assert torch.equal(moved, x)


def test_a_mix_lies_between_two_images() -> None:
    x = torch.eye(5)[:, :, None, None].repeat(1, 1, 2, 2)
    mix = mixed(x, 1.0, np.random.default_rng(0))
    torch.testing.assert_close(mix.sum(1), torch.ones(5, 2, 2))
    assert ((mix > 0).sum(1) <= 2).all()
    assert not torch.equal(mix, x)
    assert torch.equal(mixed(x, 0.0, np.random.default_rng(0)), x)
