"""Boxes and points of a detector move with the image, when told so, and are refused otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artefacts import write_onnx
from repair import repair_nets as nets
from repair.repair_nets import SIZE, model_of
from torch import nn

from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.methods import Subject, method
from equiaudit.repair.pipeline import FixOptions, fix
from equiaudit.sampling.positions import CanonicalOutputs, Positions, roll_positions


def test_a_box_keeps_its_size_and_its_centre_in_the_image() -> None:
    boxes = torch.tensor([[[2.0, 1.0, 6.0, 3.0, 0.9]]])
    shifts = torch.tensor([[5, 4]])
    moved = roll_positions(boxes, shifts, (16, 24), Positions("boxes"))
    assert moved.tolist() == [[[6.0, 6.0, 10.0, 8.0, pytest.approx(0.9)]]]
    around = roll_positions(boxes, torch.tensor([[0, 21]]), (16, 24), Positions("boxes"))
    assert around[0, 0, :4].tolist() == [-1.0, 1.0, 3.0, 3.0]
    across = roll_positions(boxes, torch.tensor([[13, 18]]), (16, 24), Positions("boxes"))
    assert across[0, 0, :4].tolist() == [20.0, 14.0, 24.0, 16.0]


def test_points_are_brought_into_the_image() -> None:
    points = torch.tensor([[[2.0, 1.0, 1.0], [23.5, 15.0, 0.0]]])
    moved = roll_positions(points, torch.tensor([[1, 1]]), (16, 24), Positions("keypoints"))
    assert moved.tolist() == [[[3.0, 2.0, 1.0], [0.5, 0.0, 0.0]]]


class Detector(nn.Module):
    """A box around each of the three strongest responses of a padded, strided net."""

    def __init__(self, *, as_dict: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.score = nn.Conv2d(4, 1, 3, 1, 1)
        self.as_dict = as_dict
        nets.randomise(self)

    def forward(self, x: torch.Tensor) -> object:
        heat = self.score(torch.relu(self.conv(x)))
        width = heat.shape[3]
        scores, places = torch.topk(heat.flatten(1), 3)
        rows = torch.div(places, width, rounding_mode="floor").float()
        columns = (places % width).float()
        half = 3 + scores.sigmoid()
        corners = (2 * columns - half, 2 * rows - half, 2 * columns + half, 2 * rows + half)
        boxes = torch.stack(corners, -1)
        return {"boxes": boxes, "scores": scores} if self.as_dict else (boxes, scores)


def told(*pairs: tuple[str, str], **changes: object) -> FixOptions:
    return FixOptions(method="canonical", positions=pairs, comparisons=200, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("as_dict", "name"), [(True, "boxes"), (False, "0")])
@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_boxes_are_mapped_back_in_the_written_file(
    tmp_path: Path, as_dict: bool, name: str, suffix: str
) -> None:
    model = model_of(Detector(as_dict=as_dict))
    out = tmp_path / f"a{suffix}"
    report = fix(model, out, told((name, "boxes")))
    assert report.outcome == "written", report.reason
    for record in report.verifications:
        assert record.passed
        assert record.control_failed
    assert "a corner outside" in report.notes[-1]
    fixed = torch.jit.load(out) if suffix == ".pt" else torch.export.load(out).module()
    x = torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        boxes, scores = fixed(x)
        moved, same = fixed(torch.roll(x, (3, 7), (2, 3)))
    assert torch.equal(scores, same)
    expected = roll_positions(boxes, torch.tensor([[3, 7]] * 4), SIZE, Positions("boxes"))
    assert torch.allclose(moved, expected, atol=1e-4)
    assert not torch.allclose(moved, boxes, atol=1)


def test_control_boxes_left_where_the_rolled_image_has_them_do_not_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equiaudit.repair.methods import canonical

    class Left(CanonicalOutputs):
        def __init__(self, module: nn.Module, roles: tuple[object, ...]) -> None:
            super().__init__(module, (None,) * len(roles))

    monkeypatch.setattr(canonical, "CanonicalOutputs", Left)
    report = fix(model_of(Detector()), tmp_path / "a.pt", told(("0", "boxes")))
    assert report.outcome == "unverified"


@pytest.mark.parametrize("method", ["canonical", "crop-select", "crop-select+canonical"])
def test_boxes_that_are_not_named_are_refused_in_a_sentence(tmp_path: Path, method: str) -> None:
    with pytest.raises(NothingToDo, match="look like boxes") as refusal:
        fix(model_of(Detector(as_dict=True)), tmp_path / "a.pt", FixOptions(method=method))
    assert "--positions" in str(refusal.value.tip)


def test_an_onnx_file_with_boxes_is_refused_until_they_are_named(tmp_path: Path) -> None:
    path = write_onnx(Detector(), tmp_path / "net.onnx", torch.rand(2, 3, *SIZE))
    model = model_of(Detector(), kind="onnx", path=path, module=None)
    misfit = method("canonical").misfit(Subject(model), FixOptions(method="canonical"))
    assert misfit is not None
    assert "look like boxes" in misfit.reason


def test_lists_of_one_entry_per_image_are_refused(tmp_path: Path) -> None:
    class Ragged(Detector):
        def forward(self, x: torch.Tensor) -> object:
            boxes, scores = super().forward(x)  # type: ignore[misc]
            return [{"boxes": b, "scores": s} for b, s in zip(boxes, scores, strict=True)]

    with pytest.raises(NothingToDo):
        fix(model_of(Ragged()), tmp_path / "a.pt", FixOptions(method="canonical"))


@pytest.mark.parametrize(
    ("pair", "words"), [(("masks", "boxes"), "no output 'masks'"), (("0", "lines"), "'lines'")]
)
def test_what_there_is_not_is_an_input_error(
    tmp_path: Path, pair: tuple[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fix(model_of(Detector()), tmp_path / "a.pt", told(("0", "boxes"), pair))
