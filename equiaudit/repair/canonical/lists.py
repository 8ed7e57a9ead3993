"""`canonical` for modules that return a dict per image, as torchvision's detectors do: TorchScript.

They choose and suppress inside, so no graph records them, but they can be scripted. What is
returned keeps its type and its names; each image's boxes, masks and key points are moved back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.errors import NothingToDo, first_line
from equiaudit.graphs.quiet import quiet
from equiaudit.models.detectors.inputs import Listed
from equiaudit.repair.canonical.torch_files import scripted_origin


def canonical_lists(module: nn.Module, channels: int, size: tuple[int, int]) -> Any:
    """A scripted module that takes and returns what `module` does, for images of `size` = (H, W).

    Raises NothingToDo where `module` cannot be scripted, or returns something else then.
    """
    inner = module.inner if isinstance(module, Listed) else module
    try:
        with quiet():
            script = inner if isinstance(inner, torch.jit.ScriptModule) else torch.jit.script(inner)
            forward: Any = script.forward
            kinds = forward.schema
            taken, given = str(kinds.arguments[1].type), str(kinds.returns[0].type)
            wrapper = _WRAPPERS.get((taken, given))
            if wrapper is None:
                raise TypeError(f"as TorchScript it takes {taken} and returns {given}")
            whole = torch.jit.script(wrapper(script, scripted_origin(channels, size), size).eval())
    except Exception as error:  # scripting raises nearly anything
        raise NothingToDo(
            f"The model returns lists, which are moved back in TorchScript, and cannot be scripted:"
            f" {first_line(error)}.",
            tip="Export it with tensors (N, K, 4) for boxes, and declare those with --detector.",
        ) from error
    return whole


def _moved(
    found: list[dict[str, Tensor]], origins: list[tuple[int, int]], sides: tuple[int, int]
) -> list[dict[str, Tensor]]:
    """Boxes and points with their centres in the image of `sides` = (H, W), masks rolled."""
    moved: list[dict[str, Tensor]] = []
    for place, each in enumerate(found):
        row, column = origins[place]
        by = torch.tensor([column, row])
        around = torch.tensor([sides[1], sides[0]])
        made: dict[str, Tensor] = {}
        for name, value in each.items():
            if name == "boxes":
                step = by.to(value)
                whole = around.to(value)
                middle = (value[:, :2] + value[:, 2:4]) / 2 + step
                step = step - torch.floor(middle / whole) * whole
                made[name] = value + torch.cat([step, step], 1)
            elif name == "keypoints":
                step = by.to(value)
                whole = around.to(value)
                points = value[:, :, :2] + step
                points = points - torch.floor(points / whole) * whole
                made[name] = torch.cat([points, value[:, :, 2:]], 2)
            elif name == "masks":
                made[name] = torch.roll(value, (row, column), (2, 3))
            else:
                made[name] = value
        moved.append(made)
    return moved


class _Rolled(nn.Module):
    def __init__(self, inner: nn.Module, origin: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.inner = inner
        self.origin = origin
        self.size = size

    def place(self, x: Tensor) -> tuple[int, int]:
        """Where an image (C, H, W) is cut."""
        if x.shape[1] != self.size[0] or x.shape[2] != self.size[1]:
            raise ValueError(f"images of {self.size[0]}x{self.size[1]} px are taken")
        point = self.origin(x.unsqueeze(0))[0]
        return int(point[0]), int(point[1])


class _Pairs(_Rolled):
    """Torchvision's detectors as TorchScript: a list of images -> (losses, a dict per image)."""

    def forward(self, images: list[Tensor]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        origins = [self.place(x) for x in images]
        rolled = [torch.roll(x, (-o[0], -o[1]), (1, 2)) for x, o in zip(images, origins)]  # noqa: B905
        losses, found = self.inner(rolled)
        return losses, _moved(found, origins, self.size)


class _Lists(_Rolled):
    """A list of images -> a dict per image."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        origins = [self.place(x) for x in images]
        rolled = [torch.roll(x, (-o[0], -o[1]), (1, 2)) for x, o in zip(images, origins)]  # noqa: B905
        return _moved(self.inner(rolled), origins, self.size)


class _Batches(_Rolled):
    """A batch of images -> a dict per image."""

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        origins = [self.place(x) for x in images]
        rolled = [torch.roll(x, (-o[0], -o[1]), (1, 2)) for x, o in zip(images, origins)]  # noqa: B905
        return _moved(self.inner(torch.stack(rolled)), origins, self.size)


_LIST, _DICTS = "List[Tensor]", "List[Dict[str, Tensor]]"
_WRAPPERS: dict[tuple[str, str], type[_Rolled]] = {
    (_LIST, f"Tuple[Dict[str, Tensor], {_DICTS}]"): _Pairs,
    (_LIST, _DICTS): _Lists,
    ("Tensor", _DICTS): _Batches,
}
