"""Small nets whose unmodified form reacts to every shift."""

from __future__ import annotations

import torch
from torch import nn

from equiaudit.models.types import Model, Preprocess

SIZE = (16, 24)


def model_of(net: nn.Module, size: tuple[int, int] = SIZE, **changes: object) -> Model:
    fields = {
        "name": "net.pt",
        "kind": "module",
        "run": net,
        "preprocess": Preprocess(size=size, mean=(0.5,) * 3, std=(0.25,) * 3),
        "task": "classification",
        "device": torch.device("cpu"),
        "sha256": "0" * 64,
        "backend": "torch",
        "module": net,
    }
    return Model(**(fields | changes))


class Block(nn.Module):
    """A residual block with in-place ReLUs and a strided shortcut."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(cin, cout, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return self.relu(y)


class TinyResNet(nn.Module):
    """Total stride 4, five classes; `circular` takes the stride and the zero padding away."""

    def __init__(self, *, circular: bool = False, view: bool = False) -> None:
        super().__init__()
        stride = 1 if circular else 2
        self.block1 = Block(3, 8, stride)
        self.block2 = Block(8, 16, stride)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.fc = nn.Linear(16, 5)
        self.view = view
        randomise(self)
        if circular:
            for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
                conv.padding_mode = "circular"
                conv._reversed_padding_repeated_twice = [conv.padding[0]] * 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.block2(self.block1(x))
        y = y.double().mean((2, 3)).to(x.dtype)
        y = y.view(y.shape[0], -1) if self.view else torch.flatten(y, 1)
        return self.fc(self.drop(y))


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and BatchNorm statistics that leave every channel alive, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.3)
            module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                noise = torch.randn(module.weight.shape, generator=generator)
                module.weight.copy_(noise / module.weight[0].numel() ** 0.5 * 1.5)
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.1)
    return net.eval()


class WithDict(nn.Module):
    """Returns a mapping whose entry "out" is not the first."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TinyResNet()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.net(x)
        return {"aux": y * 2, "out": y}


class WritesThroughView(nn.Module):
    """Writes into a slice of a map that is read afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        randomise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn(self.conv(x))
        half = y[:, :2]
        half.relu_()
        return y.mean((2, 3))


class Branches(nn.Module):
    """Control flow that depends on the data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))
