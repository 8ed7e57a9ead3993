"""Gradients of the layers, and selectors that learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from equiaudit.sampling import (
    APSD,
    APSU,
    CAPSD,
    CAPSU,
    DDAC,
    LPSD,
    LPSU,
    BlurPool,
    PolyphaseDown,
    order_free_mean,
)
from equiaudit.sampling.polyphase import components

CHANNELS = 2


def there_and_back(down: PolyphaseDown, up: nn.Module) -> nn.Module:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = down, up

        def forward(self, x: Tensor) -> Tensor:
            return self.up(*self.down.sample(x))

    return Both()


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "aps": lambda: there_and_back(APSD(filter=BlurPool(3, 1)), APSU()),
    "lps": lambda: there_and_back(LPSD(CHANNELS, hidden=3), LPSU(filter=BlurPool(3, 1))),
    "lps convex": lambda: LPSD(CHANNELS, hidden=3, gumbel=False, tau=0.5),
    "lps windowed": lambda: LPSD(CHANNELS, hidden=3, window=1),
    "caps": lambda: there_and_back(CAPSD(CHANNELS), CAPSU()),
    "caps as published": lambda: CAPSD(CHANNELS, form="paper"),
    "caps soft": lambda: CAPSD(CHANNELS, mode="soft", temperature=0.3).eval(),
    "lpf": lambda: BlurPool(4, 3),
    "ddac": lambda: DDAC(CHANNELS, 3, 2, groups=1),
    "ddac per group": lambda: DDAC(CHANNELS, 3, 2, groups=2, scope="group").eval(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # gradcheck calls many times
    parameters = dict(layer.named_parameters())
    x = torch.rand(2, CHANNELS, 6, 12, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same noise at every call
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters.values()), fast_mode=True)


@pytest.mark.parametrize("make", [LPSD, CAPSD])
def test_selectors_learn_which_component_to_take(make: Callable[..., PolyphaseDown]) -> None:
    """The target is the component whose content is the *least*: no start prefers it."""
    torch.manual_seed(0)
    down = make(CHANNELS)
    down.select.start_from_activation_()
    start = [p.detach().clone() for p in down.parameters()]
    if make is CAPSD:
        down.select.temperature = 0.2
    x = torch.rand(32, CHANNELS, 8, 8)
    x[:, :, 0::2, 1::2] *= torch.linspace(0.2, 0.9, 32)[:, None, None, None]
    weakest = components(x, 2).mean((2, 3, 4)).argmin(1)
    target = components(x, 2)[torch.arange(32), weakest]
    optimizer = torch.optim.Adam(down.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = (down.train()(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all((p != q).any() for p, q in zip(down.parameters(), start, strict=True))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    origin = down.eval().sample(x)[1].origin
    assert (origin[:, 0] * 2 + origin[:, 1] == weakest).float().mean() > 0.8


def test_a_mixture_is_drawn_anew_in_training_and_never_in_eval() -> None:
    torch.manual_seed(0)
    down, x = LPSD(CHANNELS), torch.rand(2, CHANNELS, 8, 8)
    assert not torch.equal(down.train()(x), down(x))
    assert torch.equal(down.eval()(x), down(x))
    assert down.sample(x)[1].weights is None


def test_branches_share_what_was_drawn() -> None:
    down, x = LPSD(CHANNELS), torch.rand(2, CHANNELS, 8, 8)
    y, choice = down.sample(x)
    assert choice.weights is not None
    assert torch.equal(down(x, choice), y)


def test_bfloat16_trains() -> None:
    down = LPSD(CHANNELS).bfloat16()
    x = torch.rand(2, CHANNELS, 8, 8, dtype=torch.bfloat16)
    y = down(x)
    y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16
    assert down.select.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dims", [[2, 3], [1, 2, 3]])
def test_order_free_sums_pass_the_gradient_of_plain_sums(dims: list[int]) -> None:
    x = torch.randn(2, CHANNELS, 4, 6, requires_grad=True)
    weights = torch.randn(2, 1, 1, 1)
    (order_free_mean(x, dims, 24, True) * weights).sum().backward()
    assert torch.allclose(x.grad, (weights / 24).expand_as(x))
