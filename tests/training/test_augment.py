from __future__ import annotations

import numpy as np
import torch

from equiaudit.training.augment import Mix


def test_a_mix_lies_between_two_images() -> None:
    x = torch.eye(5)[:, :, None, None].repeat(1, 1, 2, 2)
    mix = Mix.draw(5, 1.0, np.random.default_rng(0)).of(x)
    torch.testing.assert_close(mix.sum(1), torch.ones(5, 2, 2))
    assert ((mix > 0).sum(1) <= 2).all()
    assert not torch.equal(mix, x)
    assert torch.equal(Mix.draw(5, 0.0, np.random.default_rng(0)).of(x), x)


def test_two_batches_are_mixed_alike_and_bytes_stay_bytes() -> None:
    x = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1) * 60
    mix = Mix.draw(4, 1.0, np.random.default_rng(1))
    assert mix.of(x).dtype == torch.uint8
    torch.testing.assert_close(mix.of(x).float(), mix.of(x.float()).round())
