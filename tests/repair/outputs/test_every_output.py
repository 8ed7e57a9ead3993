"""canonical and what a model returns besides scores: put back, carried, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from position_nets import Boxes, Classifier, Landmarks, LinearLandmarks, MapAndScore
from repair.repair_nets import model_of
from torch import nn

from equiaudit.errors import InputError, NothingToDo
from equiaudit.models import Model, PreprocessOverrides, load
from equiaudit.repair.outputs.following import every_following
from equiaudit.repair.pipeline import FixOptions, fix, verify_model

SIZE = (32, 32)
SHIFT = (5, 9)


def options(**positions: str) -> FixOptions:
    return FixOptions(method="canonical", positions=tuple(positions.items()), comparisons=64)


def written(net: nn.Module, path: Path, names: list[str], image: str = "image") -> Path:
    sample = torch.rand(2, 3, *SIZE)
    torch.onnx.export(
        net.eval(),
        (sample,),
        path,
        input_names=[image],
        output_names=names,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    return path


def of_file(path: Path, task: str = "auto", output: str | None = None) -> Model:
    sizes = PreprocessOverrides(size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)
    return load(path, preprocess=sizes, task=task, output=output)


def picture() -> torch.Tensor:
    """A bright square on noise, with a border of its own, as a model receives it."""
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3)) * 0.2
    x[:, 12:18, 10:15] = 1.0
    x[1] = 1 - x[1]
    return (x - 0.5) / 0.25


def outputs(path: Path, x: torch.Tensor) -> list[torch.Tensor]:
    """What the written file returns for a batch of two."""
    batch = torch.stack([x, x])
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        return [torch.from_numpy(np.asarray(y)) for y in found]
    with torch.no_grad():
        found = torch.jit.load(path)(batch)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def script(net: nn.Module, path: Path) -> Path:
    torch.jit.trace(net.eval(), torch.rand(2, 3, *SIZE)).save(path)
    return path


# Landmarks in one row, which look like scores


@pytest.mark.parametrize("unit", ["px", "share"])
def test_landmarks_that_follow_the_image_are_refused_until_they_are_named(
    tmp_path: Path, unit: str
) -> None:
    with pytest.raises(NothingToDo, match="6 of its 6 numbers move") as refusal:
        fix(model_of(Landmarks(unit), SIZE), tmp_path / "a.pt", options())
    assert "=keypoints" in str(refusal.value.tip)
    assert "=none" in str(refusal.value.tip)
    assert not list(tmp_path.iterdir())


def test_mass_refuses_numbers_that_follow_the_image(tmp_path: Path) -> None:
    """A head with a weight per position would return them for the frame, whatever the shift."""
    net = LinearLandmarks(SIZE[0]).eval()
    with pytest.raises(NothingToDo, match=r"'0' of .* follows the image: 6 of its 6") as refusal:
        fix(model_of(net, SIZE, task="regression"), tmp_path / "a.pt", FixOptions())
    assert "--positions 0=keypoints" in str(refusal.value.tip)


class Called(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Classifier(also_map=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"landmarks": self.net(x)}


def test_an_output_with_the_name_of_positions_is_asked_about(tmp_path: Path) -> None:
    model = model_of(Called().eval(), SIZE, output="landmarks")
    with pytest.raises(NothingToDo, match=r"'landmarks' of .* has the name of positions"):
        fix(model, tmp_path / "a.pt", options())


def test_scores_of_a_classifier_are_not_refused_and_it_is_said_why(tmp_path: Path) -> None:
    report = fix(model_of(Classifier(also_map=False), SIZE), tmp_path / "a.pt", options())
    assert report.outcome == "written", report.reason
    assert any("do not follow small shifts" in note for note in report.notes)


@pytest.mark.parametrize("unit", ["share"])
def test_landmarks_are_moved_back_in_the_written_file(tmp_path: Path, unit: str) -> None:
    path = written(Landmarks(unit), tmp_path / "net.onnx", ["points"], "pixel_values")
    model = of_file(path, task="classification")
    report = fix(model, tmp_path / "a.onnx", options(points="keypoints"))
    assert report.outcome == "written", report.reason
    x, scale = picture(), torch.tensor([1.0, 1.0] if unit == "px" else [1 / 32, 1 / 32])
    before = Landmarks(unit)(x[None])[0].reshape(-1, 2)
    (still,) = outputs(tmp_path / "a.onnx", x)
    (moved,) = outputs(tmp_path / "a.onnx", torch.roll(x, SHIFT, (1, 2)))
    torch.testing.assert_close(still[0].reshape(-1, 2), before, atol=1e-3, rtol=0)
    expected = before + torch.tensor([SHIFT[1], SHIFT[0]]) * scale
    torch.testing.assert_close(moved[1].reshape(-1, 2), expected, atol=1e-3, rtol=0)


# Boxes, and their units


@pytest.mark.parametrize(("image", "told"), [("image", "boxes"), ("pixel_values", "boxes:share")])
def test_boxes_in_shares_come_back_as_shares_from_onnx(
    tmp_path: Path, image: str, told: str
) -> None:
    path = written(Boxes("share"), tmp_path / "net.onnx", ["boxes", "scores"], image)
    report = fix(of_file(path, output="scores", task="classification"), tmp_path / "a.onnx",
                 options(boxes=told))  # fmt: skip
    assert report.outcome == "written", report.reason
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)
    x = picture()
    boxes, scores = outputs(tmp_path / "a.onnx", x)
    moved, same = outputs(tmp_path / "a.onnx", torch.roll(x, SHIFT, (1, 2)))
    assert torch.equal(scores, same)
    assert float(boxes.abs().max()) < 2
    expected = boxes + torch.tensor([SHIFT[1], SHIFT[0]] * 2) / 32
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes[0], Boxes("share")(x[None])[0][0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("net", "told", "words"),
    [
        (Boxes("share"), "boxes:px", "as shares of the image are"),
        (Boxes("px"), "boxes:share", "as px are"),
        (Boxes("px", centres=True), "boxes:px", "no second corner"),
        (Boxes("px"), "boxes:mm", "--positions says 'boxes:mm'"),
        (Boxes("px"), "none:px", "--positions says"),
    ],
)
def test_a_unit_or_a_kind_that_the_values_contradict_is_refused(
    tmp_path: Path, net: nn.Module, told: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fix(model_of(net, SIZE), tmp_path / "a.pt", options(**{"0": told}))


def test_x_and_y_in_another_order_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="number 2 follows the columns"):
        fix(
            model_of(Landmarks(planar=True), SIZE), tmp_path / "a.pt", options(**{"0": "keypoints"})
        )


def test_verification_notices_shares_that_are_moved_as_px(tmp_path: Path) -> None:
    """The check of the file against itself passes; the unmodified model says otherwise."""
    from equiaudit.repair.verify.every_output import EveryOutput
    from equiaudit.repair.verify.images import verification_images
    from equiaudit.sampling.positions import CanonicalOutputs, Positions

    net = Boxes("share").eval()
    images = verification_images(model_of(net, SIZE).preprocess)
    found = {}
    for unit in ("share", "px"):
        roles = (Positions("boxes", unit), None)
        check = EveryOutput(SIZE, roles, ("boxes", "scores"))
        found[unit] = check(
            CanonicalOutputs(net, roles), net, images,
            device="cpu", comparisons=64, seed=0, subject="net",
        )  # fmt: skip
    assert found["share"].passed
    assert found["px"].figures.passed
    assert not found["px"].passed
    assert "as shares of the image are" in found["px"].faults[0]


def test_verification_notices_landmarks_that_stay(tmp_path: Path) -> None:
    from equiaudit.sampling.canonical import Canonical

    net = Landmarks().eval()
    left = model_of(Canonical(net), SIZE)
    found = verify_model(left, against=model_of(net, SIZE), comparisons=64)
    assert not found.passed
    assert "follows the image" in found.faults[0]
    good = model_of(Canonical(Classifier(also_map=False)), SIZE)
    assert verify_model(good, against=model_of(Classifier(also_map=False), SIZE)).passed


# Maps beside scores


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_map_beside_scores_is_put_back_and_nothing_is_dropped(tmp_path: Path, kind: str) -> None:
    net = Classifier().eval()
    if kind == "onnx":
        model = of_file(written(net, tmp_path / "net.onnx", ["scores", "map"]))
        out = tmp_path / "a.onnx"
    else:
        model = of_file(script(net, tmp_path / "net.pt"))
        out = tmp_path / "a.pt"
    report = fix(model, out, options())
    assert report.outcome == "written", report.reason
    assert any("put back in place: " in note for note in report.notes)
    x = picture()
    scores, found = outputs(out, x)
    same, moved = outputs(out, torch.roll(x, (4, 6), (1, 2)))
    assert torch.equal(scores, same)
    assert torch.equal(moved, torch.roll(found, (2, 3), (2, 3)))
    assert verify_model(of_file(out), against=model, comparisons=64).passed


def test_verification_looks_at_the_second_output(tmp_path: Path) -> None:
    """A map left where the rolled image has it: the scores alone would pass."""
    from equiaudit.sampling.canonical import Canonical

    net = Classifier().eval()
    left = model_of(Canonical(net), SIZE)
    found = verify_model(left, against=model_of(net, SIZE), comparisons=64)
    assert not found.passed
    assert found.figures.comparisons_exact > 0  # the scores


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_map_features_score_and_label_of_an_anomaly_model(tmp_path: Path, suffix: str) -> None:
    names = ["anomaly_map", "features", "pred_score", "pred_label"]
    net = MapAndScore().eval()
    if suffix == ".onnx":
        model = of_file(written(net, tmp_path / "net.onnx", names), output="anomaly_map",
                        task="image")  # fmt: skip
    else:
        model = model_of(net, SIZE, task="image", output="0")
    report = fix(model, tmp_path / f"a{suffix}", options())
    assert report.outcome == "written", report.reason
    x = picture()
    still = outputs(tmp_path / f"a{suffix}", x)
    moved = outputs(tmp_path / f"a{suffix}", torch.roll(x, (4, 6), (1, 2)))
    assert torch.equal(moved[0], torch.roll(still[0], (4, 6), (2, 3)))
    assert torch.equal(moved[1], torch.roll(still[1], (2, 3), (2, 3)))
    assert torch.equal(moved[2], still[2])
    assert torch.equal(moved[3], still[3])


class Odd(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.conv = nn.Conv2d(3, 5, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.conv(x)
        pooled = torch.nn.functional.adaptive_avg_pool2d(y, (7, 7))
        other = pooled if self.shape == (7, 7) else y.flatten(2).transpose(1, 2)
        return y.mean((2, 3)), other


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((7, 7), "'1' of net.pt .5x7x7 per image. is no map"),
        ((256,), "'1' of net.pt is 256 rows of 5"),
    ],
)
def test_what_cannot_be_put_back_is_refused_by_name(
    tmp_path: Path, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(NothingToDo, match=words) as refusal:
        fix(model_of(Odd(shape), SIZE), tmp_path / "a.pt", options())
    assert "--positions 1=" in str(refusal.value.tip)


# What a file may hold after its last map


class TopK(nn.Module):
    """A detector of one output: boxes of the strongest scores, chosen by a TopK and a gather."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes = Boxes()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        boxes, scores = self.boxes(x)
        best, places = torch.topk(scores, 2)
        return torch.gather(boxes, 1, places.unsqueeze(2).expand(-1, -1, 4)), best


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_detector_with_topk_is_carried_along(tmp_path: Path, kind: str) -> None:
    net = TopK().eval()
    if kind == "onnx":
        path = written(net, tmp_path / "net.onnx", ["boxes", "scores"], "input")
        told, out = options(boxes="boxes"), tmp_path / "a.onnx"
    else:
        path = script(net, tmp_path / "net.pt")
        told, out = options(**{"0": "boxes"}), tmp_path / "a.pt"
    model = of_file(path, output="scores" if kind == "onnx" else "1", task="classification")
    report = fix(model, out, told)
    assert report.outcome == "written", report.reason
    x = picture()
    boxes, _ = outputs(out, x)
    moved, _ = outputs(out, torch.roll(x, SHIFT, (1, 2)))
    torch.testing.assert_close(moved, boxes + torch.tensor([SHIFT[1], SHIFT[0]] * 2),
                               atol=1e-3, rtol=0)  # fmt: skip


class Ranked(nn.Module):
    """Scores of a strided net, and the best of them: values and places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = torch.relu(self.conv(x) - 0.5).mean((2, 3))
        return (scores, *torch.topk(scores, 3))


def test_mass_keeps_the_ranking_of_scores(tmp_path: Path) -> None:
    path = written(Ranked(), tmp_path / "net.onnx", ["scores", "best", "classes"], "input")
    report = fix(of_file(path), tmp_path / "a.onnx", FixOptions(comparisons=64))
    assert report.outcome == "written", report.reason
    x = picture()
    still, moved = (outputs(tmp_path / "a.onnx", torch.roll(x, s, (1, 2))) for s in ((0, 0), SHIFT))
    for first, second in zip(still, moved, strict=True):
        assert torch.equal(first, second)
    values, places = torch.sort(still[0], dim=1, descending=True, stable=True)
    assert torch.equal(still[1], values[:, :3])
    assert torch.equal(still[2], places[:, :3])


def test_an_input_of_any_name_reaches_into_the_branches(tmp_path: Path) -> None:
    """The branch that decides ties reads the image by its name."""
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1))
    path = written(net, tmp_path / "net.onnx", ["map"], "pixel_values")
    told = FixOptions(method="canonical+border", comparisons=32)
    report = fix(of_file(path), tmp_path / "a.onnx", told)
    assert report.outcome == "written", report.reason
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)


def with_suppression(path: Path) -> Path:
    """A file for one image that ends in NonMaxSuppression: as many rows as boxes are left."""
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(written(Boxes().eval(), path, ["raw", "scores"], "input"))
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    constants = {"most": np.array([3]), "overlap": np.array([0.4], np.float32),
                 "axis": np.array([1]), "last": np.array([2])}  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    graph.node.extend(
        [
            helper.make_node("Unsqueeze", ["scores", "axis"], ["by_class"]),
            helper.make_node(
                "NonMaxSuppression", ["raw", "by_class", "most", "overlap"], ["chosen"]
            ),
            helper.make_node("Gather", ["chosen", "last"], ["column"], axis=1),
            helper.make_node("Squeeze", ["column", "axis"], ["places"]),
            helper.make_node("Squeeze", ["raw", "zero"], ["rows"]),
            helper.make_node("Gather", ["rows", "places"], ["boxes"], axis=0),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    kept = [item for item in graph.output if item.name == "scores"]
    del graph.output[:]
    graph.output.extend(
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["found", 4]), *kept]
    )
    onnx.save(model, path, save_as_external_data=False)
    return path


def test_a_list_of_as_many_boxes_as_are_left_is_moved_back(tmp_path: Path) -> None:
    path = with_suppression(tmp_path / "net.onnx")
    model = of_file(path, output="scores", task="classification")
    with pytest.raises(NothingToDo, match=r"'boxes' of net.onnx is some rows|has the name of"):
        fix(model, tmp_path / "a.onnx", options())
    report = fix(model, tmp_path / "a.onnx", options(boxes="boxes:px"))
    assert report.outcome == "written", report.reason
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    x = picture()
    still, moved = (
        session.run(["boxes"], {"input": torch.roll(x, s, (1, 2))[None].numpy()})[0]
        for s in ((0, 0), SHIFT)
    )
    assert len(still) == len(moved) > 0
    np.testing.assert_allclose(moved, still + np.array([9, 5, 9, 5]), atol=1e-3)


def test_rows_that_are_not_always_as_long_are_left_out() -> None:
    counts = iter(range(1, 100))
    found = every_following(
        lambda x: [torch.ones(len(x), next(counts)), x.mean((2, 3))], {"a": picture()}, [0, 1], 1
    )
    assert set(found) == {1}


class Square(nn.Module):
    """A map of as many channels as rows: only who made it knows which are which."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.conv(x)
        return y.mean((2, 3)), y


def test_a_map_that_fits_both_layouts_is_that_of_torch_or_refused(tmp_path: Path) -> None:
    net = Square().eval()
    report = fix(model_of(net, SIZE), tmp_path / "a.pt", options())
    assert report.outcome == "written", report.reason
    x = picture()
    still, moved = (outputs(tmp_path / "a.pt", torch.roll(x, s, (1, 2))) for s in ((0, 0), (4, 6)))
    assert torch.equal(moved[1], torch.roll(still[1], (2, 3), (2, 3)))
    file = of_file(written(net, tmp_path / "net.onnx", ["scores", "features"]))
    with pytest.raises(NothingToDo, match="channels first or last"):
        fix(file, tmp_path / "a.onnx", options())
