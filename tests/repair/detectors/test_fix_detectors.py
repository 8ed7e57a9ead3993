"""canonical and mass for detectors: boxes go with the image in the file that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_detectors import SIZE, STRIDES, Finished, OneStage
from torch import nn

import equiaudit
from equiaudit.errors import InputError, NothingToDo
from equiaudit.repair.rewrite import tail
from equiaudit.sampling import positions

PLAIN = {"size": SIZE, "mean": (0.0,) * 3, "std": (1.0,) * 3}
SHIFTS = ((1, 0), (0, 3), (5, 2), (8, 8), (31, 17), (12, 30))
GRID = "format=grid,strides=4/8,nms_iou=0.45"


def picture() -> torch.Tensor:
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3)) * 0.2
    x[:, 12:18, 10:15] = 1.0
    x[1, :, 20:24] = 0.7
    return x


def fixed(net: nn.Module, out: Path, how: str, **settings: Any) -> Any:
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


@pytest.mark.parametrize(
    ("method", "kind"), [("canonical", "onnx"), ("mass", "onnx"), ("mass", "pt")]
)
def test_rows_of_grids_decode_to_boxes_that_go_with_the_image(
    tmp_path: Path, grids: Path, method: str, kind: str
) -> None:
    net: Any = grids if kind == "onnx" else OneStage().eval()
    out = tmp_path / f"fixed.{kind}"
    report = fixed(net, out, GRID, method=method)
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
        (OneStage(decoded=True, columns=True), "format=columns,box=cxcywh", "canonical"),
        (Finished("xywh"), "format=boxes,box=xywh", "mass"),
        (Finished("xywh", "share"), "format=boxes,box=xywh,units=share", "canonical"),
        (Finished("xyxy", "share"), "format=boxes,units=share", "mass"),
    ],
    ids=["objectness", "columns", "columns-canonical", "xywh", "share-canonical", "share"],
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


@pytest.mark.parametrize("method", ["canonical", "mass"])
def test_a_wrong_sign_in_the_move_back_does_not_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    right = positions.moved_rows
    for module in (positions, tail):
        monkeypatch.setattr(module, "moved_rows", lambda y, by, *rest: right(y, -by, *rest))
    report = fixed(OneStage().eval(), tmp_path / "fixed.pt", GRID, method=method)
    assert report.outcome == "unverified"


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
    assert "mass, canonical" in str(refusal.value.tip)
