"""canonical and mass for detectors: boxes go with the image in the file that is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_detectors import ANCHORS, SIZE, STRIDES, Anchored, Finished, OneStage
from torch import nn

import equiaudit
from equiaudit.api.box_losses import matches
from equiaudit.errors import InputError, NothingToDo
from equiaudit.metrics.boxes import field_of
from equiaudit.metrics.precision import estimates
from equiaudit.repair.canonical.onnx_file import canonical_onnx
from equiaudit.repair.rewrite import tail
from equiaudit.repair.verify.every_output import EveryOutput
from equiaudit.report.loss import cost_in_words
from equiaudit.sampling import crop_select, positions
from equiaudit.sampling.canonical import canonical_origin
from equiaudit.sampling.crop_select import CropPosition
from equiaudit.sampling.positions import Positions, roll_positions

PLAIN = {"size": SIZE, "mean": (0.0,) * 3, "std": (1.0,) * 3}
SHIFTS = ((1, 0), (0, 3), (5, 2), (8, 8), (31, 17), (12, 30))
GRID = "format=grid,strides=4/8,nms_iou=0.45"


def picture() -> torch.Tensor:
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3)) * 0.2
    x[:, 12:18, 10:15] = 1.0
    x[1, :, 20:24] = 0.7
    return x


def fixed(net: nn.Module | Path, out: Path, how: str, **settings: Any) -> Any:
    return equiaudit.fix(net, out, detector=how, seconds=0.3, **PLAIN, **settings)


def returned(path: Path, x: torch.Tensor) -> list[np.ndarray]:
    """All outputs of the file for one image."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x[None].numpy()})
    with torch.no_grad():
        found = torch.jit.load(path)(x[None])
    return [y.numpy() for y in ([found] if isinstance(found, torch.Tensor) else found)]


def centres_of_grid(rows: np.ndarray) -> np.ndarray:
    """By a loop over grids, rows and columns, in px."""
    found, k = [], 0
    for stride in STRIDES:
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                x, y = rows[0, k, :2]
                found.append(((float(x) + column) * stride, (float(y) + row) * stride))
                k += 1
    assert k == rows.shape[1]
    return np.array(found)


def on_torus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Largest difference, where one of a whole image is none."""
    apart = np.abs(a - b) % 32
    return np.minimum(apart, 32 - apart)


def to_onnx(net: nn.Module, path: Path, names: list[str]) -> Path:
    sample = torch.rand(2, 3, *SIZE)
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(net.eval(), (sample,), path, input_names=["image"], output_names=names,
                      dynamic_shapes=shapes, dynamo=True, verbose=False)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def grids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-stage detector as ONNX, its rows relative to cells."""
    torch.manual_seed(0)
    return to_onnx(OneStage().eval(), tmp_path_factory.mktemp("net") / "net.onnx", ["rows"])


@pytest.mark.parametrize("method", ["canonical", "mass"])
def test_rows_of_grids_decode_to_boxes_that_go_with_the_image(
    tmp_path: Path, grids: Path, method: str
) -> None:
    out = tmp_path / "fixed.onnx"
    report = fixed(grids, out, GRID, method=method)
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    assert any("in cells of its grids" in note for note in report.notes)
    x = picture()
    (still,) = returned(out, x)
    for shift in SHIFTS:
        (moved,) = returned(out, torch.roll(x, shift, (1, 2)))
        assert np.array_equal(moved[..., 2:], still[..., 2:])
        expected = centres_of_grid(still) + np.array([shift[1], shift[0]])
        assert on_torus(centres_of_grid(moved), expected).max() < 1e-4
        inside = centres_of_grid(moved)
        assert inside.min() > -1e-4
        assert inside.max() < 32 + 1e-4
    assert equiaudit.verify(out, detector=None, seconds=0.2).passed  # the table is beside it


def px_of(output: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """(K, 2) centres in px and what follows the coordinates, of one image."""
    rows = output[0].T if "columns" in form else output[0]
    scale = 32 if "share" in form else 1
    if "cxcywh" in form:
        return rows[:, :2] * scale, rows[:, 2:]
    if "xywh" in form:
        return (rows[:, :2] + rows[:, 2:4] / 2) * scale, rows[:, 2:]
    return (rows[:, :2] + rows[:, 2:4]) / 2 * scale, rows[:, 4:]


@pytest.mark.parametrize(
    ("net", "how", "method"),
    [
        (OneStage(decoded=True), "format=objectness,box=cxcywh", "mass"),
        (OneStage(decoded=True, columns=True), "format=columns,box=cxcywh", "mass"),
        (Finished("xywh", "share"), "format=boxes,box=xywh,units=share", "mass"),
    ],
    ids=["objectness", "columns", "finished"],
)
def test_positions_are_those_of_the_declaration(
    tmp_path: Path, net: nn.Module, how: str, method: str
) -> None:
    report = fixed(net.eval(), tmp_path / "fixed.pt", how, method=method)
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    x = picture()
    still, moved = (
        returned(tmp_path / "fixed.pt", torch.roll(x, shift, (1, 2))) for shift in ((0, 0), (5, 9))
    )
    (before, rest), (after, same) = px_of(still[0], how), px_of(moved[0], how)
    assert on_torus(before + np.array([9, 5]), after).max() < 1e-3
    assert np.array_equal(rest, same)
    assert after.min() > -1e-3
    assert after.max() < 32 + 1e-3
    for a, b in zip(still[1:], moved[1:], strict=True):
        assert np.array_equal(a, b)


def flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes are moved back the wrong way."""
    right = positions.moved_rows
    for module in (positions, tail):
        monkeypatch.setattr(module, "moved_rows", lambda y, by, *rest: right(y, -by, *rest))


def test_mass_with_a_wrong_sign_in_the_move_back_does_not_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flipped(monkeypatch)
    report = fixed(OneStage().eval(), tmp_path / "fixed.pt", GRID, method="mass")
    assert report.outcome == "unverified"


@pytest.mark.parametrize("wrong", [False, True])
def test_canonical_with_a_wrong_sign_in_the_move_back_does_not_verify(
    monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    role = positions.Positions("cells", strides=STRIDES)
    net, check = (
        positions.CanonicalOutputs(OneStage().eval(), [role]),
        EveryOutput(SIZE, (role,), ("rows",), declared=frozenset({0})),
    )
    if wrong:
        flipped(monkeypatch)
    with torch.no_grad():
        found = check(net, None, {"photo": picture()}, device="cpu", comparisons=70, seed=0,
                      subject="net")  # fmt: skip
    assert found.passed is not wrong


# The same in ONNX nodes


FORMS = {
    "boxes": Positions("boxes"),
    "shares": Positions("boxes", "share"),
    "corner": Positions("corner"),
    "columns": Positions("keypoints", columns=True),
    "cells": Positions("cells", strides=STRIDES),
    "anchors": Positions(
        "cells", strides=STRIDES, anchors=(((7, 9),), ((13.5, 12),)), variances=(0.1, 0.2)
    ),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_onnx_nodes_move_positions_as_torch_does(tmp_path: Path, form: str) -> None:
    role, rows = FORMS[form], 80
    shape = [1, 6, rows] if role.columns else [1, rows, 6]
    known = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 8
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["one"], keepdims=0),
        helper.make_node("Sub", ["one", "one"], ["zero"]),
        helper.make_node("Add", ["known", "zero"], ["rows"]),
    ]
    image, out = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
        for name, sides in (("image", [1, 3, *SIZE]), ("rows", shape))
    )
    constant = numpy_helper.from_array(known.numpy(), "known")
    graph = helper.make_graph(nodes, "net", [image], [out], [constant])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    canonical_onnx(tmp_path / "net.onnx", tmp_path / "a.onnx", roles={"rows": role},
                   ranks={"rows": 3})  # fmt: skip
    x = torch.roll(picture(), (7, 11), (1, 2))
    (found,) = returned(tmp_path / "a.onnx", x)
    expected = roll_positions(known, canonical_origin(x[None], 3, SIZE), SIZE, role)
    assert not torch.equal(expected, known)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)


# Dicts


class Dicts(nn.Module):
    """A dict per image, as torchvision's detectors return: boxes, masks and points of 3 peaks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = OneStage(decoded=True)

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        found: list[dict[str, torch.Tensor]] = []
        for rows, image in zip(self.inner(images), images):  # noqa: B905
            scores, places = torch.topk(rows[:, 4], 3)
            best = rows[places]
            made: dict[str, torch.Tensor] = {}
            made["labels"] = torch.argmax(best[:, 5:], 1)
            made["boxes"] = torch.cat([best[:, :2], best[:, :2] + best[:, 2:4]], 1)
            made["scores"] = scores
            made["masks"] = (image[:1] * scores.reshape(3, 1, 1)).unsqueeze(1)
            made["keypoints"] = best[:, :3].unsqueeze(1)
            found.append(made)
        return found


def test_dicts_keep_their_names_and_all_of_them_move(tmp_path: Path) -> None:
    report = fixed(Dicts().eval(), tmp_path / "a.pt", "torchvision", method="canonical")
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    net, x = torch.jit.load(tmp_path / "a.pt"), picture()
    with torch.no_grad():
        (before,), (after,) = net(x[None]), net(torch.roll(x, (5, 9), (1, 2))[None])
    assert set(before) == {"boxes", "labels", "scores", "masks", "keypoints"}
    assert torch.equal(before["scores"], after["scores"])
    assert torch.equal(before["labels"], after["labels"])
    assert torch.equal(torch.roll(before["masks"], (5, 9), (2, 3)), after["masks"])
    for name, n in (("boxes", 4), ("keypoints", 2)):
        moved = before[name][..., :n] + torch.tensor([9.0, 5.0] * (n // 2))
        assert on_torus(moved.numpy(), after[name][..., :n].numpy()).max() < 1e-4
    with pytest.raises(InputError, match="cannot hold a module that returns a dict"):
        fixed(Dicts().eval(), tmp_path / "a.onnx", "torchvision", method="canonical")
    with pytest.raises(NothingToDo, match="dict per image"):
        fixed(Dicts().eval(), tmp_path / "b.pt", "torchvision", method="mass")


# What it costs


def test_agreement_with_the_unmodified_detector_is_said(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for k in range(3):
        pixels = (torch.roll(picture(), 5 * k, 2) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    how = "format=objectness,box=cxcywh,score_threshold=0.1"
    report = fixed(OneStage(decoded=True).eval(), tmp_path / "a.pt", how, method="mass",
                   data=tmp_path / "photos", offsets=2, max_shift=3)  # fmt: skip
    assert report.outcome == "written", report.reason
    assert report.loss is not None
    assert report.loss.measure == "boxes"
    assert "The boxes agree with those of the unmodified model to AP50" in cost_in_words(report)
    assert report.after["circular.boxes_kept"].value == 1.0
    assert report.before["circular.boxes_kept"].value < 1.0


def test_matches_are_made_class_by_class_the_likeliest_first() -> None:
    true = np.array([[0, 0, 10, 10, 0.9, 1], [20, 20, 30, 30, 0.8, 2]], float)
    found = np.array([
        [0, 0, 10, 9, 0.5, 1],  # the second to want the first box
        [0, 0, 10, 10, 0.6, 1],
        [20, 20, 30, 30, 0.9, 1],  # of another class
        [20, 20, 30, 26, 0.3, 2],  # an IoU of 0.6
    ])  # fmt: skip
    one = matches(true, found, field_of((32, 32), [(0, 0)], None), 0)
    assert one.hit[:, 0].tolist() == [False, True, False, True]
    assert one.hit[:, 5].tolist() == [False, True, False, False]
    same = matches(true, true, field_of((32, 32), [(0, 0)], None), 0)
    assert estimates(same, 1)["ap50"].value == pytest.approx(1.0)


def test_the_unmodified_detector_does_not_verify(grids: Path) -> None:
    found = equiaudit.verify(grids, detector=GRID, seconds=0.2, **PLAIN)
    assert not found.passed
    assert found.figures.comparisons_exact < found.figures.comparisons


def test_units_that_the_boxes_contradict_are_refused(tmp_path: Path) -> None:
    net = Finished("xyxy", "share").eval()
    with pytest.raises(InputError, match="declared in px, and all lie within"):
        fixed(net, tmp_path / "a.pt", "format=boxes,score_threshold=0", method="canonical")
    net = Finished("xyxy").eval()
    with pytest.raises(InputError, match="declared as shares of the image, and reach"):
        fixed(net, tmp_path / "a.pt", "format=boxes,units=share,score_threshold=0", method="mass")


def test_what_does_not_move_boxes_is_refused_with_what_does(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="aps does not move boxes back") as refusal:
        fixed(OneStage().eval(), tmp_path / "a.pt", GRID, method="aps")
    assert "mass, canonical, crop-select" in str(refusal.value.tip)


# Anchors

ANCHORED = {
    "format": "anchors",
    "boxes": "0",
    "scores": "1",
    "strides": list(STRIDES),
    "anchors": [[list(pair) for pair in own] for own in ANCHORS],
    "activation": "softmax",
    "background": "first",
    "score_threshold": 0.2,
}


def anchored(folder: Path) -> Path:
    """The declaration as a file."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in ANCHORED.items()]
    (folder / "how.toml").write_text("\n".join(["[detector]", *lines]))
    return folder / "how.toml"


def centres_of_anchors(moves: np.ndarray) -> np.ndarray:
    """By a loop over grids, rows, columns and anchors, in px."""
    found, k = [], 0
    for stride, own in zip(STRIDES, ANCHORS, strict=True):
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                for w, h in own:
                    x, y = (float(v) for v in moves[0, k, :2])
                    centre = (
                        (column + 0.5) * stride + 0.1 * x * w,
                        (row + 0.5) * stride + 0.1 * y * h,
                    )
                    found.append(centre)
                    k += 1
    assert k == moves.shape[1]
    return np.array(found)


@pytest.mark.parametrize("method", ["canonical", "mass"])
def test_boxes_relative_to_anchors_go_with_the_image(tmp_path: Path, method: str) -> None:
    torch.manual_seed(0)
    net, out = Anchored().eval(), tmp_path / "fixed.pt"
    if method == "canonical":
        net = to_onnx(net, tmp_path / "net.onnx", ["boxes", "scores"])
        out = tmp_path / "fixed.onnx"
    report = fixed(net, out, str(anchored(tmp_path)), method=method)
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    assert any("in shares of its anchors" in note for note in report.notes)
    x = picture()
    still = returned(out, x)
    for shift in SHIFTS[1:4]:
        moved = returned(out, torch.roll(x, shift, (1, 2)))
        assert np.array_equal(moved[1], still[1])
        assert np.array_equal(moved[0][..., 2:], still[0][..., 2:])
        expected = centres_of_anchors(still[0]) + np.array([shift[1], shift[0]])
        assert on_torus(centres_of_anchors(moved[0]), expected).max() < 1e-4
    assert equiaudit.verify(out, detector=None, seconds=0.2).passed  # the table is beside it


def test_rows_beside_those_of_anchors_are_to_be_told(tmp_path: Path) -> None:
    """Landmarks relative to anchors do not follow the image, and nothing shows that they should."""
    net = Anchored(further=True).eval()
    with pytest.raises(NothingToDo, match="rows of 6, which may belong to places"):
        fixed(net, tmp_path / "a.pt", str(anchored(tmp_path)), method="canonical")


# Crops


@pytest.fixture(scope="module")
def cropped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Finished boxes behind crop-select."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("crop") / "fixed.pt"
    how = "format=boxes,boxes=boxes,scores=scores,labels=labels,score_threshold=0"
    return out, fixed(Finished().eval(), out, how, method="crop-select", margin=8)


def test_boxes_of_a_chosen_crop_lie_where_the_larger_input_has_them(
    cropped: tuple[Path, Any],
) -> None:
    out, report = cropped
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    torch.manual_seed(0)
    net = Finished().eval()
    x = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))
    row, column = CropPosition(8)(x[None])[0].tolist()
    assert (row, column) != (0, 0)
    boxes, scores, labels = returned(out, x)
    with torch.no_grad():
        found = net(x[None, :, row : row + 32, column : column + 32])
    assert np.array_equal(scores, found["scores"].numpy())
    assert np.array_equal(labels, found["labels"].numpy())
    expected = found["boxes"].numpy() + np.array([column, row, column, row])
    np.testing.assert_allclose(boxes, expected, rtol=0, atol=1e-5)


def test_a_wrong_sign_behind_crop_select_does_not_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crop_select, "added", lambda y, by, role: positions.added(y, -by, role))
    how = "format=boxes,boxes=boxes,scores=scores,labels=labels,score_threshold=0"
    out = tmp_path / "a.pt"
    assert fixed(Finished().eval(), out, how, method="crop-select").outcome == "unverified"


def test_boxes_that_mean_something_else_in_a_larger_input_are_refused(tmp_path: Path) -> None:
    shares = "format=boxes,boxes=boxes,scores=scores,labels=labels,units=share,score_threshold=0"
    for net, how, why in (
        (OneStage(), GRID, "relative to cells or anchors"),
        (Finished(unit="share"), shares, "shares of its window"),
    ):
        with pytest.raises(NothingToDo, match=why):
            fixed(net.eval(), tmp_path / "a.pt", how, method="crop-select")


def test_masks_and_points_bound_to_rows_are_refused(tmp_path: Path) -> None:
    how = "format=rows,box=cxcywh,points=1"
    for method in ("canonical", "mass", "crop-select"):
        with pytest.raises(NothingToDo, match="key points behind its scores"):
            fixed(OneStage(decoded=True).eval(), tmp_path / "a.pt", how, method=method)
