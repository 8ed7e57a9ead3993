from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as case
from PIL import Image
from torch import Tensor, nn

from equiaudit.data import Geometry, MaskReader, open_dataset
from equiaudit.data.dense import open_dense_dataset
from equiaudit.errors import InputError
from equiaudit.models.types import Preprocess
from equiaudit.repair.analyse import analyse
from equiaudit.repair.capture import capture
from equiaudit.repair.rewrite import rewrite
from equiaudit.repair.verify import verify
from equiaudit.training import Examples, TrainingOptions, load_examples, recover

WINDOW = Geometry(case.SIZE)


def write(place: Path, pixels: np.ndarray) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(place)


def picture(value: int) -> np.ndarray:
    return np.full((*case.SIZE, 3), value, np.uint8)


def test_pixels_and_labels_come_in_the_order_of_the_folder(tmp_path: Path) -> None:
    for i, name in enumerate(("b/1.png", "a/2.png", "a/1.png")):
        write(tmp_path / name, picture(i))
    found = load_examples(open_dataset(tmp_path), WINDOW, case.HOW)
    assert found.pixels[:, 0, 0, 0].tolist() == [2, 1, 0]
    assert found.targets is not None
    assert found.targets.tolist() == [0, 0, 1]
    x = found.inputs(np.array([1]), torch.device("cpu"))
    torch.testing.assert_close(x, torch.full((1, 3, *case.SIZE), (1 / 255 - 0.5) / 0.25))


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture(1))
    (tmp_path / "b.png").write_bytes(b"no image")
    found = load_examples(open_dataset(tmp_path), WINDOW, case.HOW)
    assert len(found) == 1
    assert [skipped.name for skipped in found.skipped] == ["b.png"]
    assert found.targets is None
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="None of the images"):
        load_examples(open_dataset(tmp_path), WINDOW, case.HOW)


def test_masks_come_along(tmp_path: Path) -> None:
    mask = np.zeros(case.SIZE, np.uint8)
    mask[3, 5], mask[0, 0] = 1, 255
    for name in ("a", "b"):
        write(tmp_path / f"images/{name}.png", picture(9))
        write(tmp_path / f"masks/{name}.png", mask)
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(3))
    found = load_examples(data, WINDOW, case.HOW)
    target = found.targets_of(np.array([1]), torch.device("cpu"))
    assert target.dtype == torch.int64
    assert target.shape == (1, *case.SIZE)
    assert (target[0, 3, 5], target[0, 0, 0], target.sum()) == (1, -1, 0)


def test_the_parts_are_disjoint_and_whole_and_drawn_by_the_seed() -> None:
    everything = case.examples(40)
    part, held = everything.split(0.25, seed=1)
    assert (len(part), len(held)) == (30, 10)
    both = np.concatenate([part.pixels, held.pixels]).reshape(40, -1)
    assert {row.tobytes() for row in both} == {
        row.tobytes() for row in everything.pixels.reshape(40, -1)
    }
    assert np.array_equal(held.pixels, everything.split(0.25, seed=1)[1].pixels)
    assert not np.array_equal(held.pixels, everything.split(0.25, seed=2)[1].pixels)


class Dense(nn.Module):
    """Down and up once, two classes per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 12, 4, 2, 1)
        self.up = nn.ConvTranspose2d(12, 8, 4, 2, 1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.up(torch.relu(self.down(x)))))


@pytest.mark.parametrize("stage", ["distil", "finetune"])
def test_dense_nets_are_trained_and_stay_exact(stage: str) -> None:
    torch.manual_seed(0)
    graph = capture(Dense().eval(), size=case.SIZE).graph_module
    fixed = case.shaken(rewrite(graph, analyse(graph)), ("up.weight", "last.weight"))
    pixels = case.examples(64).pixels
    masks = torch.from_numpy((pixels[..., 0] > 128).astype(np.int16))
    examples = Examples(pixels, Preprocess(case.SIZE, (0.5,) * 3, (0.25,) * 3), masks)
    options = TrainingOptions(
        **{stage: 6}, batch_size=8, finetune_rate=0.1, features=0.2, mixup=0.0, holdout=0.25
    )
    trained, record = recover(fixed, graph, examples, options)
    (done,) = record.stages
    assert done.loss_after < 0.7 * done.loss_before
    x = next(examples.batches(6, torch.device("cpu")))
    images = {str(i): image for i, image in enumerate(x)}
    found = verify(trained, graph, images, total_stride=(2, 2), dense=True, comparisons=128)
    assert found.figures.exact
    assert found.control_failed
