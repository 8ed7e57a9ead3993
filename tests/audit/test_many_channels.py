"""Models of 4 and 8 input channels, in ONNX and TorchScript, on TIFF and NumPy images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from equiaudit import scan
from equiaudit.data import Decoded, Geometry, decode
from equiaudit.data.items import Item
from equiaudit.errors import InputError
from equiaudit.models.types import Preprocess
from equiaudit.repair.verify.images import as_input
from equiaudit.results import Skipped

SIZE = (16, 20)
IMAGES = 6


class Net(nn.Module):
    """Each channel has weights of its own, so that none can be left out or change places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(channels)
        self.first = nn.Conv2d(channels, 6, 3, stride=4, padding=1)
        self.last = nn.Linear(6, 5, bias=False)
        for each in self.parameters():
            each.data = torch.randn(each.shape, generator=generator)
        mean, std = (torch.tensor(how(channels)[k])[:, None, None] for k in ("mean", "std"))
        grey = ((0.5 - mean) / std).expand(1, channels, *SIZE)
        self.level = self.first(grey).mean((2, 3)).detach()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(image).mean((2, 3)).sub(self.level))


def photos(root: Path, channels: int, dtype: type = np.uint8) -> list[np.ndarray]:
    """(C, H, W), as bands of a TIFF, pages of one, or an array."""
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(channels)
    top = 255 if dtype is np.uint8 else 10_000
    made = [rng.integers(0, top, (channels, *SIZE)).astype(dtype) for _ in range(IMAGES)]
    root.mkdir(parents=True)
    for i, image in enumerate(made):
        last = np.moveaxis(image, 0, -1)
        if i % 3 == 0:
            tifffile.imwrite(root / f"{i}.tif", last, photometric="minisblack")
        elif i % 3 == 1:
            tifffile.imwrite(root / f"{i}.tif", image)
        else:
            how = {"photometric": "minisblack", "planarconfig": "separate"}
            tifffile.imwrite(root / f"{i}.tif", image, **how)
    return made


def arrays(root: Path, channels: int) -> list[np.ndarray]:
    rng = np.random.default_rng(channels)
    made = [rng.integers(0, 255, (channels, *SIZE)).astype(np.uint8) for _ in range(IMAGES)]
    root.mkdir(parents=True)
    for i, image in enumerate(made):
        np.save(root / f"{i}.npy", image if i % 2 else np.moveaxis(image, 0, -1))
    return made


def saved(net: nn.Module, channels: int, path: Path) -> Path:
    example = torch.rand(2, channels, *SIZE)
    if path.suffix == ".pt":
        torch.jit.trace(net.eval(), example).save(str(path))
    else:
        torch.onnx.export(net.eval(), (example,), path, dynamo=False, input_names=["x"],
                          dynamic_axes={"x": {0: "n"}})  # fmt: skip
    return path


def how(channels: int) -> dict[str, object]:
    mean = tuple(0.1 * i for i in range(channels))
    std = tuple(0.2 + 0.05 * i for i in range(channels))
    return {"size": SIZE, "mean": mean, "std": std, "shifts": ("circular",), "max_shift": 1,
            "offsets": "full", "images": False}  # fmt: skip


def labels_by_loop(net: nn.Module, images: list[np.ndarray], top: float) -> list[list[int]]:
    """Of each image under all nine shifts of up to 1 px, one at a time, the unshifted first."""
    stated = how(len(images[0]))
    mean, std = (np.array(stated[k], np.float32)[:, None, None] for k in ("mean", "std"))
    moves = [(0, 0), *((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))]
    found = []
    for image in images:
        x = (image.astype(np.float32) / np.float32(top) - mean) / std
        rolled = (torch.from_numpy(np.roll(x, move, (1, 2))[None]) for move in moves)
        found.append([int(net(each).argmax()) for each in rolled])
    return found


def table(path: Path, rows: list[list[int]], ending: str) -> Path:
    path.write_text("file,label\n" + "".join(f"{i}{ending},{r[0]}\n" for i, r in enumerate(rows)))
    return path


@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("kind", [".pt", ".onnx"])
@pytest.mark.parametrize("write", [photos, arrays])
def test_a_scan_equals_a_loop(channels: int, kind: str, write, tmp_path: Path) -> None:
    net = Net(channels).eval()
    images = write(tmp_path / "data", channels)
    rows = labels_by_loop(net, images, 255)
    labels = table(tmp_path / "labels.csv", rows, ".tif" if write is photos else ".npy")
    model = saved(net, channels, tmp_path / f"net{kind}")
    result = scan(model, tmp_path / "data", labels=labels, class_order="index", **how(channels))
    assert not result.skipped
    assert result.metric("circular.accuracy_clean").value == 1
    right = np.array([[label == row[0] for label in row] for row in rows])
    assert not right.all()
    agreed = [[a == b for i, a in enumerate(row[1:]) for b in row[1:][:i]] for row in rows]
    assert result.metric("circular.consistency").value == pytest.approx(np.mean(agreed))


def test_what_16_bits_mean_is_said_and_not_guessed(tmp_path: Path) -> None:
    net = Net(8).eval()
    images = photos(tmp_path / "data", 8, np.uint16)
    rows = labels_by_loop(net, images, 10_000)
    labels = table(tmp_path / "labels.csv", rows, ".tif")
    model = saved(net, 8, tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"uint16 values of 8 channels have no known scale"):
        scan(model, tmp_path / "data", **how(8))
    said = how(8) | {"image_range": (0, 10_000)}
    result = scan(model, tmp_path / "data", labels=labels, class_order="index", **said)
    assert result.metric("circular.accuracy_clean").value == 1


def refused(model: Path, data: Path, **stated: object) -> str:
    with pytest.raises(InputError) as error:
        scan(model, data, **(how(8) | stated))
    return f"{error.value} {error.value.tip}"


def test_other_numbers_of_channels_are_named(tmp_path: Path) -> None:
    arrays(tmp_path / "data", 8)
    eight = saved(Net(8), 8, tmp_path / "eight.onnx")
    said = refused(eight, tmp_path / "data", mean=None, std=None)
    assert "mean V1,V2,...,V8 std V1,V2,...,V8" in said
    three = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    assert "takes 8-channel images, which need 8" in refused(eight, tmp_path / "data", **three)
    script = saved(Net(8), 8, tmp_path / "eight.pt")
    said = refused(script, tmp_path / "data", **three)
    assert "eight.pt takes images of 8 channels, and mean and std have 3" in said
    assert "Give 8 values" in said
    two = saved(Net(2), 2, tmp_path / "two.onnx")
    assert "images of 2 channels; 1, 3 and 4 to 32" in refused(two, tmp_path / "data")
    four = saved(Net(4), 4, tmp_path / "four.onnx")
    said = refused(four, tmp_path / "data", mean=(0,) * 4, std=(1,) * 4)
    assert "has not the 4 channels of the model" in said


class Line(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).flatten(2).mean(2)


@pytest.mark.parametrize(
    ("layer", "shape", "said"),
    [(nn.Conv1d(4, 5, 3), (2, 4, 30), "signals"),
     (nn.Conv3d(4, 5, 3), (2, 4, 6, 16, 16), "volumes or clips")],
)  # fmt: skip
@pytest.mark.parametrize("kind", [".pt", ".onnx"])
def test_signals_and_volumes_are_no_images(layer, shape, said, kind, tmp_path: Path) -> None:
    arrays(tmp_path / "data", 4)
    net, path = Line(layer).eval(), tmp_path / f"net{kind}"
    if kind == ".pt":
        torch.jit.trace(net, torch.rand(shape)).save(str(path))
    else:
        torch.onnx.export(net, (torch.rand(shape),), path, dynamo=False)
    assert said in refused(path, tmp_path / "data", **{k: how(4)[k] for k in ("mean", "std")})


def test_an_axis_that_may_be_either_is_not_chosen(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 16, 4), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((4, 16, 5), np.uint8))
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = [
        decode(Item(path.name, path, None, 0), Geometry((16, 4), channels=4))
        for path in sorted(tmp_path.iterdir())
    ]
    assert isinstance(found[0], Skipped)
    assert "which axis of (4, 16, 4) holds the 4 channels cannot be told" in found[0].reason
    assert isinstance(found[1], Decoded)
    assert isinstance(found[2], Skipped)
    assert "TIFF and .npy files hold" in found[2].reason


def test_images_that_fix_verifies_on_have_as_many_channels() -> None:
    eight = Preprocess(size=SIZE, mean=(0.0,) * 8, std=(1.0,) * 8, channels="multi")
    made = as_input(torch.rand(3, *SIZE), eight)
    assert made.shape == (8, *SIZE)
    assert torch.equal(made[:3], made[3:6])
