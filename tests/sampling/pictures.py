"""Pictures of our own making with the statistics of photographs: sharp, shaded, borders that
do not meet; and a net that tells places apart."""

import torch
from torch import Tensor, nn

__all__ = ["PositionNet", "photograph", "photographs", "rolled"]


def photograph(seed: int, size: tuple[int, int] = (48, 40)) -> Tensor:
    """(3, H, W) uint8: shading, a few discs and boxes, fine texture and noise."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=random))

    rows = torch.linspace(0, 1, size[0])[:, None].expand(size)
    columns = torch.linspace(0, 1, size[1])[None].expand(size)
    image = torch.stack(
        [draw(60, 120) + draw(20, 90) * rows + draw(20, 90) * columns for _ in range(3)]
    )
    for _ in range(4):
        distance = torch.hypot(rows - draw(0.1, 0.9), columns - draw(0.1, 0.9))
        soft = torch.sigmoid((draw(0.08, 0.3) - distance) * 60)
        image = image + soft * torch.tensor([draw(-80, 80) for _ in range(3)]).reshape(3, 1, 1)
    waves = torch.sin(rows * draw(20, 40) + columns * draw(20, 40)) * draw(3, 12)
    noise = torch.randn((3, *size), generator=random) * 2
    return (image + waves + noise).round().clamp(0, 255).to(torch.uint8)


def photographs(count: int, size: tuple[int, int] = (48, 40)) -> Tensor:
    return torch.stack([photograph(seed, size) for seed in range(count)])


def rolled(images: Tensor, shifts: Tensor) -> Tensor:
    """Each image (B, C, H, W) rolled by its own shift (B, 2)."""
    pairs = zip(images, shifts.tolist(), strict=True)
    return torch.stack([torch.roll(x, s, (-2, -1)) for x, s in pairs])


class PositionNet(nn.Module):
    """Zero padding, stride and a flatten head: nothing about it is equivariant."""

    def __init__(self, size: tuple[int, int] = (48, 40), classes: int = 7) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 6, 3, 2, 1)
            self.head = nn.Linear(6 * (size[0] // 2) * (size[1] // 2), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x.float())).flatten(1))
