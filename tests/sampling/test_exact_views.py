"""The two things canonical origins of large images rest on: contrast, and every bit."""

import pytest
import torch
from pictures import photographs, rolled

from equiaudit.repair.verify.synthetic import synthetic_images
from equiaudit.sampling import canonical
from equiaudit.sampling.canonical import CanonicalPosition, canonical_origin
from equiaudit.sampling.exact_views import exact_views
from equiaudit.sampling.seam_contrast import best_contrast, contrast_suffices
from equiaudit.sampling.torus_hash import torus_hash

LARGE = (128, 144)


def test_views_move_with_the_image_and_tell_places_apart():
    x = torch.randn(2, 3, 13, 8, generator=torch.Generator().manual_seed(0))
    views = exact_views(x, (13, 8))
    assert torch.equal(
        exact_views(torch.roll(x, (5, 3), (2, 3)), (13, 8)), torch.roll(views, (5, 3), (1, 2))
    )
    assert all(one.unique().numel() == 13 * 8 for one in views)


@pytest.mark.parametrize("small", [1e-20, 2.0**-149, 1e-9])
def test_views_read_bits_that_a_hash_to_24_bits_does_not(small):
    """Two bright dots and beside one of them something 10^9 times darker and more."""
    x = torch.zeros(1, 1, 16, 16)
    x[..., 2, 3] = x[..., 10, 3] = 1.0
    x[..., 10, 4] = small
    assert exact_views(x, (16, 16))[0, 2, 3] != exact_views(x, (16, 16))[0, 10, 3]
    coarse = torus_hash(x, 1, (16, 16))[0]
    assert coarse[2, 3] == coarse[10, 3]


def test_views_of_a_repeated_pattern_are_those_of_its_period():
    x = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 3, 4)
    assert exact_views(x, (18, 20)).unique().numel() == 30


def test_contrast_finds_the_border_of_large_pictures_and_moves_with_it():
    x = photographs(6, LARGE)
    assert contrast_suffices(LARGE)
    point, clear = best_contrast(x, 3, LARGE)
    assert clear.all()
    assert (point == 0).all(1).double().mean() >= 0.8
    for shift in ((0, 1), (77, 140), (1, 0)):
        moved, _ = best_contrast(torch.roll(x, shift, (2, 3)), 3, LARGE)
        assert torch.equal(moved, (point + torch.tensor(shift)) % torch.tensor(LARGE))


def test_contrast_of_blank_images_is_not_clear():
    _, clear = best_contrast(torch.full((2, 3, *LARGE), 0.5), 3, LARGE)
    assert not clear.any()


def test_large_synthetic_images_look_the_same_from_every_shift(monkeypatch):
    x = torch.stack(list(synthetic_images(LARGE).values()))

    def same():
        still = rolled(x, -canonical_origin(x, 3, LARGE))
        moved = torch.roll(x, (5, 29), (2, 3))
        return torch.equal(rolled(moved, -canonical_origin(moved, 3, LARGE)), still)

    assert same()
    monkeypatch.setattr(
        canonical, "exact_views", lambda x, size: torch.zeros_like(x[:, 0], dtype=torch.int64)
    )
    assert not same()  # the control: the first of equal candidates does not move


def test_a_tied_companion_changes_nothing():
    x = photographs(3, LARGE)
    mixed = torch.cat([x, torch.full((1, 3, *LARGE), 7, dtype=torch.uint8)])
    assert torch.equal(CanonicalPosition()(mixed)[:3], CanonicalPosition()(x))
