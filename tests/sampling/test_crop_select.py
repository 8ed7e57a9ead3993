"""Crop selection: the same piece of the scene is chosen as often as the formulas say."""

import pytest
import torch
from pictures import photographs
from torch import nn

from equiaudit.sampling.crop_select import (
    CropPosition,
    CropSelect,
    agreement_bound,
    agreement_expected,
    landmark_peaks,
    landmark_response,
    votes_bound,
)

MARGIN, WINDOW, INPUT = 6, (42, 34), (48, 40)
SCENE = (54, 46)


def scenes(count=500):
    """Uncorrelated noise: every place is as likely as any other to hold the landmark."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, *SCENE), generator=generator, dtype=torch.uint8)


def view(scene, corner):
    return scene[..., corner[0] : corner[0] + INPUT[0], corner[1] : corner[1] + INPUT[1]]


def same_crop(rule, pictures, shift):
    """Share of the pictures of which the same piece is chosen from two corners, over corners."""
    found = []
    for corner in ((0, 0), (1, 2), (2, 1), (2, 2)):
        moved = (corner[0] + shift[0], corner[1] + shift[1])
        places = [rule(view(pictures, at)) + torch.tensor(at) for at in (corner, moved)]
        found.append((places[0] == places[1]).all(1))
    return float(torch.cat(found).double().mean())


def test_the_response_is_the_checkerboard_of_cells():
    x = torch.rand(2, 3, 9, 11)
    whole = (x * 1024).round().sum(1)
    found = landmark_response(x, (9, 11), 2)
    assert found.shape == (2, 6, 8)
    block = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1)
    expected = nn.functional.conv2d(whole[:, None].double(), block[None, None].double()).abs()
    assert torch.equal(found.double(), expected[:, 0])


def test_peaks_are_places_that_no_neighbour_exceeds_and_the_rim_has_none():
    response = torch.randint(0, 9, (3, 7, 6), generator=torch.Generator().manual_seed(0))
    found = landmark_peaks(response, (5, 4))
    for b, i, j in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        around = response[b, i : i + 3, j : j + 3]
        middle = response[b, i + 1, j + 1]
        assert found[b, i, j] == (middle if middle == around.max() else -1)


def test_the_slope_of_a_landmark_outside_is_none():
    """A corner that has left by 1 px is still the largest response of the view, at its rim."""
    scene = torch.zeros(1, 3, 60, 60)
    scene[..., 20:, 20:] = 1
    scene[..., 40:, 40:] -= 0.1
    seen = [scene[..., at : at + 36, at : at + 36] for at in (17, 18)]
    response = landmark_response(seen[0], (36, 36), 4)[0]
    assert 0 in divmod(int(response.flatten().argmax()), response.shape[1])
    places = [CropPosition(4)(x) for x in seen]
    assert torch.equal((places[0] - places[1]) % 5, torch.ones(1, 2, dtype=torch.int64))


def test_edges_along_rows_and_columns_are_no_landmark():
    stripes = (torch.arange(40) % 8 < 4).float().expand(1, 3, 40, 40)
    assert landmark_response(stripes, (40, 40), 4).max() == 0
    assert landmark_response(stripes.transpose(2, 3), (40, 40), 4).max() == 0


def test_offsets_are_in_the_margin_and_name_every_crop():
    offsets = CropPosition(MARGIN)(view(scenes(400), (0, 0)))
    assert offsets.dtype == torch.int64
    assert {tuple(o) for o in offsets.tolist()} == {
        (a, b) for a in range(MARGIN + 1) for b in range(MARGIN + 1)
    }


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (2, 2), (0, 4)])
def test_the_same_piece_is_chosen_as_often_as_expected(shift):
    expected = agreement_expected(MARGIN, shift, INPUT)
    found = same_crop(CropPosition(MARGIN), scenes(), shift)
    assert found == pytest.approx(expected, abs=3.5 * (expected * (1 - expected) / 500) ** 0.5)


@pytest.mark.parametrize("shift", [(0, 1), (1, 1), (2, 2)])
def test_a_random_response_in_each_crop_reaches_the_older_bound(shift):
    """RICS on exchangeable responses, and a control: the landmark's rule exceeds it."""
    count, side = 20_000, MARGIN + 1
    responses = torch.rand(
        count, side + shift[0], side + shift[1], generator=torch.Generator().manual_seed(2)
    )

    def winner(corner):
        seen = responses[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side]
        flat = seen.flatten(1).argmax(1)
        return torch.stack([flat // side, flat % side], 1) + torch.tensor(corner)

    found = float((winner((0, 0)) == winner(shift)).all(1).double().mean())
    bound = agreement_bound(MARGIN, shift)
    assert found == pytest.approx(bound, abs=0.015)
    assert agreement_expected(MARGIN, shift, (224, 224)) > bound + 0.03


def test_a_fixed_crop_never_keeps_to_the_scene():
    """The control: what the unmodified model sees moves at every shift."""
    middle = torch.full((500, 2), MARGIN // 2)
    assert same_crop(lambda x: middle, scenes(), (0, 1)) == 0


def test_bounds_in_closed_form():
    assert agreement_bound(16, (0, 0)) == 1
    assert agreement_bound(16, (1, 1)) == 16**2 / (2 * 17**2 - 16**2)
    assert agreement_bound(16, (0, -1)) == pytest.approx(16 / 18)
    assert agreement_bound(3, (4, 0)) == 0
    assert agreement_expected(16, (0, 1), (10**6, 10**6)) == pytest.approx(16 / 17, rel=1e-5)
    assert agreement_expected(3, (4, 0), (64, 64)) == 0


def test_the_model_sees_the_same_bits_where_the_choice_is_kept():
    pictures = photographs(40, SCENE).float() / 255
    net = CropSelect(nn.Flatten(), MARGIN, WINDOW)
    position = CropPosition(MARGIN)
    before, after = view(pictures, (2, 2)), view(pictures, (3, 2))
    kept = (position(before) == position(after) + torch.tensor([1, 0])).all(1)
    assert kept.double().mean() > 0.6
    equal = (net(before) == net(after)).all(1)
    assert torch.equal(equal, kept)


def test_a_sample_does_not_depend_on_its_companions_or_memory_format():
    pictures = view(photographs(5, SCENE).float() / 255, (0, 0))
    together = CropPosition(MARGIN)(pictures)
    assert torch.equal(together, torch.cat([CropPosition(MARGIN)(x[None]) for x in pictures]))
    last = pictures.contiguous(memory_format=torch.channels_last)
    assert torch.equal(CropPosition(MARGIN)(last), together)


def test_small_noise_keeps_landmarks_that_a_hash_would_lose():
    pictures = view(photographs(30, SCENE), (0, 0)).float()
    noisy = pictures + torch.randn(pictures.shape, generator=torch.Generator().manual_seed(3))
    position = CropPosition(MARGIN)
    kept = (position(pictures / 255) == position(noisy / 255)).all(1)
    assert kept.double().mean() > 0.6


def test_dense_outputs_are_put_back_where_the_crop_was():
    pictures = view(photographs(6, SCENE).float(), (0, 0))
    offsets = CropPosition(MARGIN)(pictures)
    found = CropSelect(nn.Identity(), MARGIN, WINDOW, dense=True)(pictures)
    assert found.shape == pictures.shape
    for picture, output, (top, left) in zip(pictures, found, offsets.tolist(), strict=True):
        inside = (slice(None), slice(top, top + WINDOW[0]), slice(left, left + WINDOW[1]))
        assert torch.equal(output[inside], picture[inside])
        assert torch.equal(output[:, 0, left], picture[:, top, left])
        bottom, right = top + WINDOW[0] - 1, left + WINDOW[1] - 1
        assert torch.equal(output[:, -1, -1], picture[:, bottom, right])


def test_gradients_reach_the_chosen_crop_only():
    picture = view(photographs(1, SCENE).float(), (0, 0)).requires_grad_()
    CropSelect(nn.Flatten(), MARGIN, WINDOW)(picture).sum().backward()
    assert picture.grad.sum() == 3 * WINDOW[0] * WINDOW[1]


def test_what_does_not_fit_is_refused():
    net = CropSelect(nn.Identity(), MARGIN, WINDOW)
    with pytest.raises(ValueError, match="48x41, and a window of 42x34 with a margin of 6 needs"):
        net(torch.zeros(1, 3, 48, 41))
    with pytest.raises(ValueError, match="no room for cells of 4 px"):
        CropPosition(2)(torch.zeros(1, 3, 7, 30))
    with pytest.raises(ValueError, match="margin and cells of 1 px or more, got 0 and None"):
        CropPosition(0)
    half = CropSelect(nn.AvgPool2d(2), MARGIN, WINDOW, dense=True)
    with pytest.raises(ValueError, match="a map of 21x17 cannot be put back"):
        half(torch.zeros(1, 3, *INPUT))
    label = CropSelect(nn.Flatten(), MARGIN, WINDOW, dense=True)
    with pytest.raises(ValueError, match="must be a map"):
        label(torch.zeros(1, 3, *INPUT))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_does_not_raise(value):
    x = torch.zeros(1, 3, *INPUT)
    x[..., 20, 20] = value
    offsets = CropPosition(MARGIN)(x)
    assert ((offsets >= 0) & (offsets <= MARGIN)).all()


class TestVotes:
    """Several crops of a lattice that the landmark anchors, averaged."""

    @pytest.mark.parametrize(("margin", "votes"), [(6, 4), (7, 4), (6, 9), (9, 16)])
    def test_the_mean_is_that_of_a_loop_over_the_crops(self, margin, votes):
        size = (WINDOW[0] + margin, WINDOW[1] + margin)
        pictures = photographs(4, size).float()
        net = nn.Sequential(nn.Conv2d(3, 5, 7, 5), nn.ReLU(), nn.Flatten())
        position, side = CropPosition(margin, votes=votes), int(votes**0.5)
        found = CropSelect(net, margin, WINDOW, votes=votes)(pictures)
        for picture, output, (top, left) in zip(
            pictures, found, position(pictures).tolist(), strict=True
        ):
            corners = [
                (top + (margin + 1) // side * i, left + (margin + 1) // side * j)
                for i in range(side)
                for j in range(side)
            ]
            assert max(max(corner) for corner in corners) <= margin
            crops = [picture[:, y : y + WINDOW[0], x : x + WINDOW[1]] for y, x in corners]
            expected = torch.stack([net(crop[None])[0] for crop in crops]).mean(0)
            assert torch.allclose(output, expected, atol=1e-4)

    def test_crops_are_anchored_to_the_landmark(self):
        """Modulo the pitch, all choices agree with the landmark's place, whatever the votes."""
        pictures = view(scenes(100), (0, 0))
        one, four = CropPosition(7)(pictures), CropPosition(7, votes=4)(pictures)
        assert torch.equal(one % 4, four)
        assert int(four.max()) == 3

    @pytest.mark.parametrize("shift", [(0, 1), (1, 1), (0, 3)])
    def test_votes_are_kept_as_often_as_expected_and_never_above_the_bound(self, shift):
        margin, size = 5, (47, 39)
        position = CropPosition(margin, votes=4)
        pictures = scenes()[..., :50, :42]
        before = pictures[..., :47, :39]
        after = pictures[..., shift[0] : shift[0] + 47, shift[1] : shift[1] + 39]
        crops = [
            {
                tuple(corner)
                for corner in (
                    (at[0] + d[0] + 3 * i, at[1] + d[1] + 3 * j) for i in range(2) for j in range(2)
                )
            }
            for x, d in ((before, (0, 0)), (after, shift))
            for at in position(x).tolist()
        ]
        half = len(crops) // 2
        kept = [len(a & b) / 4 for a, b in zip(crops[:half], crops[half:], strict=True)]
        expected = agreement_expected(margin, shift, size, votes=4)
        assert sum(kept) / half == pytest.approx(expected, abs=0.05)
        assert expected < votes_bound(margin, shift)
        assert votes_bound(margin, shift) == (6 - shift[0]) * (6 - shift[1]) / 36

    def test_maps_are_put_back_and_averaged_where_crops_overlap(self):
        pictures = view(photographs(5, SCENE).float(), (0, 0))
        offsets = CropPosition(MARGIN, votes=4)(pictures)
        net = RowsAndColumns()
        found = CropSelect(net, MARGIN, WINDOW, dense=True, votes=4)(pictures)
        assert found.shape == (5, 2, *INPUT)
        for picture, output, (top, left) in zip(pictures, found, offsets.tolist(), strict=True):
            total, count = torch.zeros(2, *INPUT), torch.zeros(INPUT)
            for y in (top, top + 3):
                for x in (left, left + 3):
                    inside = (slice(y, y + WINDOW[0]), slice(x, x + WINDOW[1]))
                    total[:, *inside] += net(picture[None, :, *inside])[0]
                    count[inside] += 1
            seen = count > 0
            assert torch.allclose(output[:, seen], (total / count)[:, seen])
            assert torch.equal(output[:, 0, left], output[:, top, left])
            assert torch.equal(output[:, -1, -1], output[:, top + 3 + 41, left + 3 + 33])

    def test_every_output_is_averaged_and_whole_numbers_are_refused(self):
        pictures = view(photographs(3, SCENE).float(), (0, 0))
        flat = CropSelect(nn.Flatten(), 6, WINDOW, votes=4)
        both = CropSelect(Two(), 6, WINDOW, votes=4)
        first, second = both(pictures)
        assert torch.equal(first, flat(pictures))
        assert torch.allclose(second["twice"], 2 * first)
        with pytest.raises(ValueError, match="votes are averaged, and an output is 1-D"):
            CropSelect(Label(), MARGIN, WINDOW, votes=4)(pictures)

    def test_what_is_no_square_or_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match="another square of votes, got 5"):
            CropPosition(6, votes=5)
        with pytest.raises(ValueError, match="9 votes need a margin of 2 px, got 1"):
            CropPosition(1, votes=9)


class RowsAndColumns(nn.Module):
    """A map that tells places in the crop apart."""

    def forward(self, x):
        rows = torch.arange(x.shape[2], dtype=x.dtype)[:, None] * x[:, :1]
        return torch.cat([rows, torch.arange(x.shape[3], dtype=x.dtype) * x[:, 1:2]], 1)


class Two(nn.Module):
    """A tuple, and a dict in it."""

    def forward(self, x):
        return x.flatten(1), {"twice": 2 * x.flatten(1)}


class Label(nn.Module):
    """The class itself."""

    def forward(self, x):
        return x.flatten(1).argmax(1)
