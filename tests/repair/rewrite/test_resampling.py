"""Resizing by ratios that float32 cannot divide by, down to every n-th pixel, and in crops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from exact_nets import captured, photos, worst_change
from torch import Tensor, nn

from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

SIZE = (24, 48)


class Layers(nn.Sequential):
    """Functions of tensors, one after the other."""

    def __init__(self, *functions: object) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> Tensor:
        for function in self.functions:
            x = function(x)
        return x


def resized(mode: str, **how: object) -> object:
    return lambda x: F.interpolate(x, mode=mode, **how)


def fixed(model: nn.Module) -> nn.Module:
    graph = captured(model, SIZE)
    return rewrite(graph, analyse(graph))


def reasons(model: nn.Module) -> list[str]:
    return [refusal.reason for refusal in analyse(captured(model, SIZE)).refusals]


def mean(x: Tensor) -> Tensor:
    return x.double().mean((2, 3)).float()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [3, 5, 6, (3, 2), (1, 3)])
@torch.no_grad()
def test_weights_do_not_depend_on_the_place(mode: str, factor: object) -> None:
    """The operator finds thirds and fifths from the place: its own output is not bit-equal."""
    resize = resized(mode, scale_factor=factor)
    x = photos(2, SIZE)
    net = fixed(Layers(lambda x: F.pad(x, (1, 1, 1, 1)), lambda x: x[..., 1:-1, 1:-1], resize))
    wrapped = F.pad(x, (6, 6, 6, 6), mode="circular")
    rows, columns = (n // (s + 12) for n, s in zip(resize(wrapped).shape[2:], SIZE, strict=True))
    expected = resize(wrapped)[..., 6 * rows : -6 * rows, 6 * columns : -6 * columns]
    torch.testing.assert_close(net(x), expected, atol=2e-4, rtol=0)
    for shift in ((1, 0), (0, 1), (5, 7)):
        moved = torch.roll(net(x), (shift[0] * rows, shift[1] * columns), (-2, -1))
        assert torch.equal(net(torch.roll(x, shift, (-2, -1))), moved)


@torch.no_grad()
def test_the_operator_itself_does_depend_on_the_place() -> None:
    x, resize = photos(2, SIZE), resized("bilinear", scale_factor=3)
    y, moved = resize(x), resize(torch.roll(x, (5, 7), (-2, -1)))
    assert not torch.equal(
        torch.roll(y, (15, 21), (-2, -1))[..., 33:-9, 33:-9], moved[..., 33:-9, 33:-9]
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("ratio", [2, 3, 4, (2, 3), (1, 2)])
@torch.no_grad()
def test_nearest_to_fewer_pixels_is_a_sampling(mode: str, ratio: int | tuple[int, int]) -> None:
    rows, columns = (ratio, ratio) if isinstance(ratio, int) else ratio
    small = (SIZE[0] // rows, SIZE[1] // columns)
    model = Layers(resized(mode, size=small), torch.relu, mean)
    x = photos(3, SIZE)
    assert worst_change(fixed(model), x) == 0
    assert worst_change(model, x) > 1e-3


def test_nearest_between_pixels_is_refused() -> None:
    assert "whole ratio" in reasons(Layers(resized("nearest", size=(16, 32)), mean))[0]
    assert "between pixels" in reasons(Layers(resized("bilinear", size=(12, 24)), mean))[0]


@pytest.mark.parametrize(("up", "down"), [(3, 2), (4, 3)])
def test_a_fractional_stride_is_refused(up: int, down: int) -> None:
    """Below one too: after x3 and /2 a shift by 1 px is one and a half steps."""
    model = Layers(resized("nearest", scale_factor=up), lambda x: F.max_pool2d(x, down), mean)
    assert f"fractional stride of {down}/{up}" in reasons(model)[0]


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.mish, torch.sigmoid])
@torch.no_grad()
def test_no_function_runs_over_a_crop(function: object) -> None:
    """Row by row, the ends of rows would go through scalar code with other last bits."""
    x = photos(6, SIZE)
    for ratio in (2, 3):
        net = fixed(Layers(resized("bilinear", scale_factor=ratio), function))
        moved = torch.roll(net(x), (5 * ratio, 7 * ratio), (-2, -1))
        assert torch.equal(net(torch.roll(x, (5, 7), (-2, -1))), moved)


@pytest.mark.parametrize("size", [(12, 18), (10, 26), (18, 30)])
@torch.no_grad()
def test_one_channel_is_no_matrix_vector_product(size: tuple[int, int]) -> None:
    """On CPUs with wide vectors the last elements of one would have other last bits."""
    head = nn.Conv2d(64, 1, 1)
    model = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), head).eval()
    graph = captured(model, size)
    net, x = rewrite(graph, analyse(graph)), photos(3, size)
    assert torch.equal(net(torch.roll(x, (4, 6), (-2, -1))), torch.roll(net(x), (2, 3), (-2, -1)))
    assert torch.equal(head.weight, graph.state_dict()["2.weight"])


@pytest.mark.parametrize("factor", [2, 3, 5, (1, 3)])
@torch.no_grad()
def test_a_padding_in_front_leaves_pixels_where_the_original_has_them(factor: object) -> None:
    """By thirds as by halves, which the operator itself computes."""
    model = Layers(lambda x: F.pad(x, (2, 0, 1, 0)), resized("bilinear", scale_factor=factor))
    x = photos(2, SIZE)
    inner = (..., slice(16, 22), slice(30, 40))
    torch.testing.assert_close(fixed(model)(x)[inner], model(x)[inner], atol=2e-4, rtol=0)
