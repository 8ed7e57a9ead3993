"""What has no equivalent behind the last map is carried along: suppressions, lists, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_builders import node
from torch import nn

import equiaudit
from equiaudit.errors import NothingToDo, RunError
from equiaudit.repair.onnx.head import head_of
from equiaudit.repair.onnx.split import split_onnx
from equiaudit.repair.save import carried_net

SIZE = (16, 16)
PLAIN = {"size": SIZE, "mean": (0.0,) * 3, "std": (1.0,) * 3}
SHIFTS = ((0, 0), (1, 0), (0, 3), (5, 2), (11, 14))
BOXES = "format=boxes,boxes=boxes,scores=scores,labels=labels,score_threshold=0"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class Rows(nn.Module):
    """One box per cell of a grid of 4 px, with scores of two classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 6, 3, 2, 1)
        y, x = torch.meshgrid(*[torch.arange(4.0) * 4 + 2] * 2, indexing="ij")
        self.register_buffer("cells", torch.stack([x, y], -1).reshape(1, 16, 2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self.head(self.stem(x).relu()).flatten(2).transpose(1, 2)
        centre, half = self.cells + rows[..., :2], rows[..., 2:4].exp() * 3
        return torch.cat([centre - half, centre + half], 2), rows[..., 4:].sigmoid().transpose(1, 2)


def exported(net: nn.Module, path: Path, outputs: list[str], opset: int = 17) -> onnx.ModelProto:
    sample = torch.rand(1, 3, *SIZE)
    torch.onnx.export(net.eval(), (sample,), path, input_names=["image"], output_names=outputs,
                      dynamo=False, opset_version=opset)  # fmt: skip
    return onnx.load(path)


def finished(model: onnx.ModelProto, path: Path, nodes: Any, outputs: Any, constants: Any) -> Path:
    """`model` with nodes behind it and other outputs."""
    graph = model.graph
    graph.initializer.extend(numpy_helper.from_array(np.array(v), k) for k, v in constants.items())
    graph.node.extend(nodes)
    described = [helper.make_tensor_value_info(*output) for output in outputs]
    del graph.output[:]
    graph.output.extend(described)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def suppressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of opset 11 that ends in NonMaxSuppression: as many rows as boxes are left."""
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    nodes = [
        node("NonMaxSuppression", "raw by_class most overlap", "chosen"),
        node("Gather", "chosen two", "places", axis=1),
        node("Gather", "chosen one", "labels", axis=1),
        node("Squeeze", "raw", "rows", axes=[0]), node("Gather", "rows places", "boxes", axis=0),
        node("Squeeze", "by_class", "s0", axes=[0]), node("Transpose", "s0", "s1", perm=[1, 0]),
        node("Unsqueeze", "labels", "l1", axes=[1]), node("Gather", "s1 places", "s2", axis=0),
        node("GatherElements", "s2 l1", "s3", axis=1), node("Squeeze", "s3", "scores", axes=[1]),
    ]  # fmt: skip
    outputs = [("boxes", FLOAT, ["k", 4]), ("scores", FLOAT, ["k"]), ("labels", INT64, ["k"])]
    constants = {"most": [4], "overlap": np.float32([0.4]), "one": 1, "two": 2}
    model = exported(Rows(), path, ["raw", "by_class"], 11)
    return finished(model, path, nodes, outputs, constants)


def picture() -> torch.Tensor:
    return torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3))


def returned(path: Path, x: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": x[None].numpy()})


def fixed(path: Path, out: Path, **settings: Any) -> Any:
    return equiaudit.fix(path, out, method="mass", seconds=0.2, **PLAIN, **settings)


@pytest.fixture(scope="module")
def exports() -> dict[str, onnx.ModelProto]:
    """What torch made of the head of the detector, which takes seconds, for the tests after."""
    return {}


@pytest.fixture(autouse=True)
def _once(exports: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> None:
    right = carried_net.exported_onnx

    def once(head: Any, *rest: Any) -> onnx.ModelProto:
        made = exports.setdefault(
            head.code, right(head, *rest) if head.code not in exports else None
        )
        copied = onnx.ModelProto()
        copied.CopyFrom(made)
        return copied

    monkeypatch.setattr(carried_net, "exported_onnx", once)


def test_a_suppression_is_carried_along(tmp_path: Path, suppressed: Path) -> None:
    report = fixed(suppressed, tmp_path / "a.onnx", detector=BOXES)
    assert report.outcome == "written", report.reason
    assert all(r.passed and r.control_failed for r in report.verifications)
    assert any("from chosen (NonMaxSuppression) on" in note for note in report.notes)
    x = picture()
    boxes, scores, labels = returned(tmp_path / "a.onnx", x)
    assert len(boxes) > 2
    unmoved = []
    for down, right in SHIFTS:
        moved = returned(tmp_path / "a.onnx", torch.roll(x, (down, right), (1, 2)))
        assert np.array_equal(scores, moved[1])
        assert np.array_equal(labels, moved[2])
        apart = np.abs(boxes + np.array([right, down] * 2) - moved[0]) % 16
        assert np.minimum(apart, 16 - apart).max() < 1e-4
        unmoved.append(returned(suppressed, torch.roll(x, (down, right), (1, 2)))[1])
    assert any(not np.array_equal(scores, unmoved[0]) for scores in unmoved)  # the control
    found = equiaudit.inspect(suppressed, detector=BOXES, **PLAIN)
    assert found.total_stride == (4, 4)
    assert "carried along" in found.notes[0]
    assert [item.name for item in onnx.load(tmp_path / "a.onnx").graph.output] == [
        "boxes", "scores", "labels",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["left in the frame", "read elsewhere"])
def test_a_wrong_move_does_not_verify(
    tmp_path: Path, suppressed: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    right = carried_net.move_back

    def opposite(w: Any, graph: Any, name: str, origin: str, *rest: Any) -> None:
        right(w, graph, name, w("Neg", origin), *rest)

    changed = opposite if wrong == "read elsewhere" else (lambda *args: None)
    monkeypatch.setattr(carried_net, "move_back", changed)
    report = fixed(suppressed, tmp_path / "a.onnx", detector=BOXES)
    assert report.outcome == "unverified"


# Classifiers


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).mean((2, 3))


def listed(path: Path) -> Path:
    """Scores; as many places of positive ones as there are; and a map from class to score, as
    Custom Vision writes (ZipMap of ai.onnx.ml)."""
    zipped = helper.make_node(
        "ZipMap", ["scores"], ["by_name"], domain="ai.onnx.ml", classlabels_strings=list("abcd")
    )
    nodes = [node("Greater", "scores zero", "over"), node("NonZero", "over", "both"),
             node("Gather", "both one", "which", axis=0), zipped]  # fmt: skip
    model = exported(Scores(), path, ["scores"])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    outputs = [("scores", FLOAT, [1, 4]), ("which", INT64, ["k"])]
    finished(model, path, nodes, outputs, {"zero": np.float32(0), "one": 1})
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    model.graph.output.append(helper.make_value_info("by_name", kind))
    onnx.save(model, path)
    return path


@pytest.mark.long
def test_outputs_of_any_length_and_kind_behind_scores(tmp_path: Path) -> None:
    path = listed(tmp_path / "net.onnx")
    report = fixed(path, tmp_path / "a.onnx", output_name="scores")
    assert report.outcome == "written", report.reason
    x = picture()
    scores, which, named = returned(tmp_path / "a.onnx", x)
    for shift in SHIFTS:
        moved = returned(tmp_path / "a.onnx", torch.roll(x, shift, (1, 2)))
        assert np.array_equal(scores, moved[0])
        assert np.array_equal(which, moved[1])
        assert named == moved[2]
    assert np.array_equal(which, np.nonzero(scores > 0)[1])
    assert list(named[0].values()) == scores[0].tolist()


def test_the_file_is_cut_where_there_is_a_row_per_image(tmp_path: Path) -> None:
    nodes = [node("Transpose", "scores", "turned", perm=[1, 0]), node("NonZero", "turned", "y")]
    model = exported(Scores(), tmp_path / "net.onnx", ["scores"])
    path = finished(model, tmp_path / "net.onnx", nodes, [("y", INT64, [2, "k"])], {})
    split = split_onnx(path, size=None, channels=None, layout=None)
    assert split is not None
    assert split.tail.reads == ("scores",)
    assert [each.op_type for each in split.tail.model.graph.node] == ["Transpose", "NonZero"]


# Refusals


def test_a_tail_that_reads_maps_or_the_image_is_refused_by_its_node(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 4, 3, 2, 1)
    for source, place in (("maps", "a"), ("image", "b")):
        path = tmp_path / f"{place}.onnx"
        model = exported(net, path, ["maps"])
        nodes = [
            node("Hardmax", source, "hard", axis=1),
            node("ReduceMax", "hard", "y", axes=[2, 3], keepdims=0),
        ]
        finished(model, path, nodes, [("y", FLOAT, [1, 4 if place == "a" else 3])], {})
        with pytest.raises(NothingToDo, match=r"Hardmax .*there is no translation"):
            fixed(path, tmp_path / "c.onnx")


def test_only_onnx_holds_a_tail(tmp_path: Path, suppressed: Path) -> None:
    model = equiaudit.load_model(suppressed, detector=BOXES, **PLAIN)
    head = head_of(model)
    net = carried_net.CarriedOnnx(
        model, as_graph=pytest.fail, split=head.split, head=head.captured.graph_module
    )
    with pytest.raises(RunError, match=r"chosen \(NonMaxSuppression\), which only ONNX has"):
        net.save(tmp_path / "a.pt", example=None, preprocess=None, check=None)
