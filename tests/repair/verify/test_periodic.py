from __future__ import annotations

import pytest
import torch

from equiaudit.repair.verify.schedule import breaking_period

SIZE = (12, 15)


def brute_force(image: torch.Tensor, stride: tuple[int, int]) -> bool:
    return any(
        torch.equal(image.roll((r, c), (1, 2)), image)
        for r in range(image.shape[1])
        for c in range(image.shape[2])
        if r % stride[0] or c % stride[1]
    )


def picture(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(15), indexing="ij")
    tile = torch.rand(4, 5, generator=generator)
    plane = {
        "constant": torch.ones(SIZE),
        "noise": torch.rand(SIZE, generator=generator),
        "one pixel": ((rows == 3) & (columns == 7)).float(),
        "two pixels": (((rows == 3) | (rows == 9)) & (columns == 7)).float(),
        "stripes of 3 columns": (columns % 3 == 0).float(),
        "diagonal": ((rows + columns) % 3 == 0).float(),
        "tiles of 4 x 5": tile.repeat(3, 3),
        "almost tiles": tile.repeat(3, 3).index_put((torch.tensor(0), torch.tensor(0)), tile[0, 1]),
        "binary noise": (torch.rand(SIZE, generator=generator) > 0.5).float(),
    }[name]
    return torch.stack([plane, plane * 2])


NAMES = (
    "constant",
    "noise",
    "one pixel",
    "two pixels",
    "stripes of 3 columns",
    "diagonal",
    "tiles of 4 x 5",
    "almost tiles",
    "binary noise",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 1), (4, 5), (3, 3), (6, 5), (1, 3)])
def test_as_brute_force_finds_it(name: str, stride: tuple[int, int]) -> None:
    image = picture(name)
    period = breaking_period(image, stride)
    assert (period is not None) == brute_force(image, stride)
    if period is not None:
        assert torch.equal(image.roll(period, (1, 2)), image)
        assert period[0] % stride[0] or period[1] % stride[1]


def test_channels_count_together() -> None:
    image = picture("stripes of 3 columns")
    image[1] = torch.arange(15.0)
    assert breaking_period(image, (1, 2)) is None
