"""The demo's network: small, and built from the parts that make real ones shift-fragile."""

from __future__ import annotations

import torch
from torch import nn


def demo_net(num_classes: int = 8) -> nn.Module:
    """(N, 3, H, W) float32, normalised, to (N, num_classes) logits.

    Total stride 8 by a max-pool and two strided residual blocks, zero padding throughout,
    global average pool; 42 thousand parameters, random until weights are loaded.
    """
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        _Block(16, 32),
        _Block(32, 40),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, num_classes),
    )


class _Block(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, and a strided 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H / 2), ceil(W / 2))."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.bn3(self.shortcut(x)))
