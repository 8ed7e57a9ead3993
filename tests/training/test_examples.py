from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as case
from PIL import Image
from torch import Tensor, nn

from equiaudit.data import Geometry, MaskReader, open_dataset, open_dense_dataset
from equiaudit.errors import InputError
from equiaudit.graphs.capture import capture
from equiaudit.models.types import Preprocess
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite
from equiaudit.repair.verify.circular import verify
from equiaudit.training import Examples, TrainingOptions, load_examples, recover

CPU = torch.device("cpu")
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
    assert [photo[0, 0, 0] for photo in found.photos] == [2, 1, 0]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]
    x = list(found.batches(1, CPU))[1]
    torch.testing.assert_close(x, torch.full((1, 3, *case.SIZE), (1 / 255 - 0.5) / 0.25))


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture(1))
    (tmp_path / "b.png").write_bytes(b"no image")
    found = load_examples(open_dataset(tmp_path), WINDOW, case.HOW)
    assert len(found) == 1
    assert [skipped.name for skipped in found.skipped] == ["b.png"]
    assert not found.has_targets
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
    assert found.labels is None
    assert found.masks is not None
    target = found.masks[1]
    assert target.shape == case.SIZE
    assert (target[3, 5], target[0, 0], target.sum()) == (1, -1, 0)


def test_what_lies_around_the_window_comes_along_as_far_as_there_is_room(tmp_path: Path) -> None:
    """Height 16 + 2 * 3 + 1: the odd row is left out, so the window stays in the middle."""
    photo = np.random.default_rng(0).integers(0, 256, (23, 60, 3)).astype(np.uint8)
    for name, pixels in (("images", photo), ("masks", photo[..., 0] % 3)):
        write(tmp_path / name / "a.png", pixels)
        write(tmp_path / name / "b.png", pixels[:16, :16])
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(3))
    found = load_examples(data, Geometry(case.SIZE, room=10), case.HOW)
    plain = load_examples(data, WINDOW, case.HOW)
    wide, tight = found.photos
    assert wide.shape == (22, 36, 3)
    assert tight.shape == (16, 16, 3)
    assert found.masks is not None
    assert np.array_equal(wide[3:-3, 10:-10], plain.photos[0])
    assert np.array_equal(found.masks[0], wide[..., 0] % 3)
    for a, b in zip(found.batches(1, CPU), plain.batches(1, CPU), strict=True):
        assert torch.equal(a, b)


def test_the_parts_are_disjoint_and_whole_and_drawn_by_the_seed() -> None:
    everything = case.examples(40)
    part, held = everything.split(0.25, seed=1)
    assert (len(part), len(held)) == (30, 10)
    both = [*part.photos, *held.photos]
    assert {photo.tobytes() for photo in both} == {p.tobytes() for p in everything.photos}
    assert np.array_equal(held.photos, everything.split(0.25, seed=1)[1].photos)
    assert not np.array_equal(held.photos, everything.split(0.25, seed=2)[1].photos)


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(130, 0.05, 24), (60, 0.05, 12), (1000, 0.05, 50), (60, 0.5, 30), (60, 0.0, 0), (3, 0.05, 1)],
)
def test_of_few_photos_a_larger_share_is_held_out(count: int, share: float, held: int) -> None:
    parts = case.examples(count).split(share, seed=0)
    assert [len(part) for part in parts] == [count - held, held]


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
    photos = case.examples(64).photos
    masks = [(photo[..., 0] > 128).astype(np.int16) for photo in photos]
    how = Preprocess(case.SIZE, (0.5,) * 3, (0.25,) * 3)
    examples = Examples(photos, how, masks=masks)
    options = TrainingOptions(
        **{stage: 6},
        batch_size=8,
        distil_rate=0.02,
        finetune_rate=0.1,
        features=0.2,
        mixup=0.0,
        holdout=0.25,
    )
    trained, record = recover(fixed, graph, examples, options)
    (done,) = record.stages
    assert done.loss_after < 0.7 * done.loss_before
    x = next(examples.batches(6, CPU))
    images = {str(i): image for i, image in enumerate(x)}
    found = verify(trained, graph, images, total_stride=(2, 2), dense=True, comparisons=128)
    assert found.figures.exact
    assert found.control_failed
