"""How outputs are read: as what, by which evidence, and what is refused with the flags that say."""

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional as F

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load

SIZE = 32
SEEN = PreprocessOverrides(size=(SIZE, SIZE), mean=(0.5,) * 3, std=(0.25,) * 3)


class Net(nn.Module):
    """A convolution, and `head` of it and of its mean over positions."""

    def __init__(self, head, channels=16, stride=1):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, channels, 3, stride=stride, padding=1)
        self.linear = nn.Linear(channels, 10)
        self.head = head

    def forward(self, x):
        maps = self.conv(x)
        return self.head(self, maps, maps.mean((2, 3)))


def read(head, *, onnx_file=None, **options):
    """The model loaded; with `onnx_file` through a file of the exporter."""
    net = Net(head, options.pop("channels", 16), options.pop("stride", 1)).eval()
    if onnx_file is not None:
        net = exported(net, onnx_file)
    return load(net, **{"preprocess": SEEN, "device": "cpu", **options})


def exported(net, path, names=None):
    torch.onnx.export(
        net,
        (torch.rand(2, 3, SIZE, SIZE),),
        path,
        dynamo=False,
        input_names=["image"],
        output_names=names,
        dynamic_axes={"image": {0: "n"}},
    )
    return path


def batch(count=3):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))


def refused(head, match, **options):
    with pytest.raises(InputError, match=match) as caught:
        read(head, **options)
    return caught.value.tip


def linear(net, maps, mean):
    return net.linear(mean)


# Scores of classes: what has to stay one


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        linear,
        lambda n, m, v: 100 * n.linear(v),
        lambda n, m, v: n.linear(v)[:, :2],
        lambda n, m, v: n.linear(v).softmax(1),
        lambda n, m, v: n.linear(v).log_softmax(1),
        lambda n, m, v: v,  # the mean of a last convolution, as fully convolutional nets end
        lambda n, m, v: v.relu()[:, :, None, None],
        lambda n, m, v: n.linear(v)[:, None, None, :],
        lambda n, m, v: (n.linear(v), m.flatten(2)),
    ],
)
def test_scores_of_classes_need_no_flag(head, as_file, tmp_path):
    model = read(head, onnx_file=tmp_path / "m.onnx" if as_file else None)
    assert model.task == "classification"
    assert not model.outputs_labels
    assert any(note.startswith("read as ") for note in model.notes)
    expected = Net(head).eval()(batch())
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert torch.allclose(model.run(batch()), expected.flatten(1), atol=1e-4)


def test_a_named_head_comes_before_features():
    model = read(lambda n, m, v: (F.normalize(v), n.linear(v)))
    assert model.num_classes == 10
    assert any("output '1' taken, of 0 (2, 16), 1 (2, 10)" in note for note in model.notes)


# Channels last


def nhwc(channels, stride=1):
    return lambda n, m, v: m[:, :channels].permute(0, 2, 3, 1)


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("channels", [1, 4, SIZE])
def test_maps_with_channels_last_are_turned(channels, as_file, tmp_path):
    path = tmp_path / "m.onnx" if as_file else None
    model = read(nhwc(channels), onnx_file=path, channels=SIZE)
    assert (model.task, model.output_layout, model.num_classes) == (
        "segmentation",
        "NHWC",
        channels,
    )
    expected = Net(nhwc(channels), SIZE).eval()(batch()).permute(0, 3, 1, 2)
    assert torch.allclose(model.run(batch()), expected, atol=1e-5)
    assert "its channels are the last axis (NHWC)" in model.notes


def test_as_many_channels_as_rows_are_told_by_a_patch():
    assert read(lambda n, m, v: m, channels=SIZE).output_layout == "NCHW"
    assert read(lambda n, m, v: m.permute(0, 2, 3, 1), channels=SIZE).output_layout == "NHWC"


def test_a_layout_that_nothing_tells_is_asked_for():
    def noise(n, m, v):
        return torch.linspace(0, 1, SIZE**3).reshape(1, SIZE, SIZE, SIZE) + 0 * m

    tip = refused(noise, "may have its channels first or last", channels=SIZE)
    assert "--output-layout NCHW or NHWC" in tip
    assert read(noise, channels=SIZE, output_layout="NHWC").output_layout == "NHWC"


def test_a_stated_layout_wins():
    assert read(nhwc(1), output_layout="NHWC").output_layout == "NHWC"
    assert read(lambda n, m, v: m, channels=SIZE, output_layout="NHWC").output_layout == "NHWC"


# Detectors


def boxes(n, m, v):
    return torch.sigmoid(n.linear(v)).repeat(1, 8)[:, :80].reshape(-1, 20, 4)


@pytest.mark.parametrize(
    "head",
    [
        lambda n, m, v: (n.linear(v).repeat(1, 2), boxes(n, m, v)),
        lambda n, m, v: (boxes(n, m, v), n.linear(v).repeat(1, 2)),
        lambda n, m, v: {
            "num_dets": (0 * n.linear(v)[:, :1]).int() + 3,
            "det_boxes": boxes(n, m, v),
            "det_scores": n.linear(v).repeat(1, 2),
            "det_classes": n.linear(v).repeat(1, 2).int(),
        },
        lambda n, m, v: [{"boxes": boxes(n, m, v)[0, :2], "scores": n.linear(v)[0, :2]}],
    ],
)
def test_finished_boxes_are_no_classes(head):
    tip = refused(head, "it looks like the boxes of a detector")
    assert "--task classification" in tip


def test_scores_of_boxes_are_refused_by_name_too():
    def head(n, m, v):
        return {"scores": n.linear(v).repeat(1, 2), "boxes": boxes(n, m, v), "label": n.linear(v)}

    refused(head, "boxes of a detector", output="scores")
    assert read(head, output="label").num_classes == 10
    assert read(head, output="scores", task="classification").num_classes == 20


def test_raw_predictions_beside_feature_maps():
    def yolo(n, m, v):
        return n.linear(v)[:, :, None].expand(-1, -1, 84), [m, F.avg_pool2d(m, 2)]

    tip = refused(yolo, "looks like a feature map", stride=8)
    assert "--output-name takes another output" in tip
    refused(lambda n, m, v: (F.avg_pool2d(m, 2), F.avg_pool2d(m, 4)), "different sizes")
    refused(lambda n, m, v: m, "64 channels and is 16 times smaller", channels=64, stride=16)
    assert read(yolo, stride=8, task="segmentation").task == "segmentation"
    named = read(yolo, stride=8, output="1.0")
    assert any("output '1.0' taken, of 0 (2, 10, 84)" in note for note in named.notes)


def test_a_map_of_classes_beside_another_stays():
    model = read(lambda n, m, v: {"out": m[:, :3], "aux": F.avg_pool2d(m[:, :3], 2)})
    assert (model.task, model.output) == ("segmentation", "out")


def test_metadata_that_state_a_task(tmp_path):
    path = exported(Net(linear).eval(), tmp_path / "m.onnx")
    proto = onnx.load(path)
    item = proto.metadata_props.add()
    item.key, item.value = "task", "pose"
    onnx.save(proto, path)
    with pytest.raises(InputError, match=r"a pose estimator .its metadata say task 'pose'"):
        load(path, preprocess=SEEN)


def test_a_suppression_in_the_graph(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Slice", ["flat", "zero", "forty", "one"], ["few"]),
        helper.make_node("Reshape", ["few", "as_boxes"], ["corners"]),
        helper.make_node("Slice", ["flat", "zero", "ten", "one"], ["one_score"]),
        helper.make_node("Unsqueeze", ["one_score", "one"], ["scores_in"]),
        helper.make_node("NonMaxSuppression", ["corners", "scores_in", "most"], ["chosen"]),
        helper.make_node("Identity", ["one_score"], ["first"]),
    ]
    values = {
        "zero": [0], "one": [1], "ten": [10], "forty": [40], "as_boxes": [-1, 10, 4], "most": [5],
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2, 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("first", TensorProto.FLOAT, [2, 10]),
            helper.make_tensor_value_info("chosen", TensorProto.INT64, [None, 3]),
        ],
        [helper.make_tensor(k, TensorProto.INT64, [len(v)], v) for k, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="non-maximum suppression"):
        load(tmp_path / "m.onnx", preprocess=SEEN)


# Numbers that are no scores


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("head", "look"),
    [
        (lambda n, m, v: 12 + n.linear(v).tanh(), "positions .all 10 numbers lie between"),
        (lambda n, m, v: n.linear(v).tanh() * 0.4 + 0.5, "positions .all 10 numbers lie in 0..1"),
        (lambda n, m, v: 34 + n.linear(v)[:, :1], "a quantity .it is about 3"),
        (lambda n, m, v: n.linear(v)[:, :3].tanh() * 0.4 + 0.5, "several labels per image"),
    ],
)
def test_what_is_no_score_is_refused(head, look, as_file, tmp_path):
    path = tmp_path / "m.onnx" if as_file else None
    tip = refused(head, f"looks like {look}", onnx_file=path)
    assert "--task classification reads it as scores all the same" in tip
    assert read(head, onnx_file=path, task="classification").task == "classification"


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_sigmoid_per_class_decides_each(count, as_file, tmp_path):
    path = tmp_path / "m.onnx" if as_file else None

    def several(n, m, v):
        return n.linear(v)[:, :count].sigmoid()

    model = read(several, onnx_file=path)
    assert (model.task, model.num_classes, model.outputs_probabilities) == (
        "multilabel",
        count,
        True,
    )
    assert f"scores of {count} classes, several of which may be right" in " ".join(model.notes)
    assert read(several, onnx_file=path, task="classification").task == "classification"
    softmax = read(lambda n, m, v: n.linear(v).softmax(1), onnx_file=path)
    assert softmax.task == "classification"


@pytest.mark.parametrize("name", ["landmarks", "age", "featureVector"])
def test_a_sigmoid_under_the_name_of_something_else_is_asked_about(name):
    tip = refused(lambda n, m, v: {name: n.linear(v).sigmoid()}, f"its name is '{name}'")
    assert "--task multilabel" in tip
    assert read(lambda n, m, v: {name: n.linear(v).sigmoid()}, task="multilabel").num_classes == 10


def test_logits_of_several_labels_are_told_by_the_flag_alone():
    assert read(linear).task == "classification"
    model = read(linear, task="multilabel")
    assert (model.task, model.outputs_probabilities) == ("multilabel", False)
    assert read(lambda n, m, v: linear(n, m, v)[:, 0], task="binary").num_classes == 1


def test_scores_of_one_class_go_before_those_of_several():
    model = read(lambda n, m, v: {"tags": n.linear(v).sigmoid(), "scores": n.linear(v)})
    assert (model.task, model.output) == ("classification", "scores")


def test_shares_that_may_be_places_or_several_labels_name_both_flags():
    tip = refused(lambda n, m, v: n.linear(v).tanh() * 0.4 + 0.5, "positions")
    assert "--task multilabel" in tip
    assert "--task classification" in tip


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        lambda n, m, v: F.normalize(n.linear(v)),
        lambda n, m, v: n.linear(v) / n.linear(v).norm(dim=1, keepdim=True),
        lambda n, m, v: F.normalize(n.linear(v))[:, :, None, None],
    ],
)
def test_what_is_an_embedding_for_certain_is_read_as_one(head, as_file, tmp_path):
    model = read(head, onnx_file=tmp_path / "m.onnx" if as_file else None)
    assert (model.task, model.num_classes) == ("embedding", None)
    assert "read as embeddings (10 numbers per image)" in model.notes
    assert any("taken for an embedding: " in note for note in model.notes)
    expected = Net(head).eval()(batch()).flatten(1)
    assert torch.allclose(model.run(batch()), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["embedding", "image_embeds"])
def test_what_is_called_an_embedding_is_one(name):
    assert read(lambda n, m, v: {name: n.linear(v)}).task == "embedding"
    beside = read(lambda n, m, v: {name: v, "logits": n.linear(v)})
    assert (beside.task, beside.output) == ("classification", "logits")
    for other in ("quality", "landmarks"):
        width = 1 if other == "quality" else 10
        model = read(lambda n, m, v, o=other, w=width: {name: n.linear(v), o: n.linear(v)[:, :w]})
        assert (model.task, model.output) == ("embedding", name)
        assert any(f"of {name} (2, 10), {other}" in note for note in model.notes)


def test_a_feature_vector_is_no_certain_embedding():
    tip = refused(lambda n, m, v: {"featureVector": n.linear(v)}, "an embedding")
    assert "--task embedding audits it as what it is" in tip


def test_numbers_are_read_as_what_is_said():
    age = lambda n, m, v: {"age": n.linear(v)[:, 0]}  # noqa: E731
    model = read(age, task="regression")
    assert (model.task, model.num_classes) == ("regression", None)
    assert tuple(model.run(batch()).shape) == (3, 1)
    tip = refused(lambda n, m, v: {"age": n.linear(v)[:, :1]}, "a quantity")
    assert "--task regression audits it as what it is" in tip
    counted = read(lambda n, m, v: (10 * n.linear(v)).round().long()[:, :1], task="regression")
    assert counted.task == "regression"


def test_positions_are_no_regression_and_it_is_said():
    head = lambda n, m, v: {"landmarks": n.linear(v)}  # noqa: E731
    assert "--task regression" not in refused(head, "positions")
    notes = read(head, task="regression").notes
    assert any("looks like positions in the image" in note for note in notes)


def test_pooled_features_are_an_embedding():
    refused(lambda n, m, v: v.relu(), "an embedding .it comes from a rectification", channels=128)
    assert read(lambda n, m, v: v.relu(), channels=100).num_classes == 100


def test_a_head_of_zeros_is_a_head():
    assert read(lambda n, m, v: 0 * n.linear(v)).num_classes == 10


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("featureVector", "an embedding"),
        ("landmarks", "positions"),
        ("age", "a quantity"),
    ],
)
def test_names_tell(name, look):
    refused(lambda n, m, v: {name: n.linear(v)}, f"{name} .2, 10. looks like {look} .its name")


def test_a_score_beside_landmarks_is_a_part_of_them():
    refused(lambda n, m, v: {"landmarks": n.linear(v), "score": v[:, :1]}, "positions")


def test_work_without_images_takes_what_is_there_and_says_what_it_may_be():
    model = read(lambda n, m, v: {"boxes": boxes(n, m, v), "scores": v}, normalisation=False)
    assert (model.task, model.output) == ("classification", "scores")
    assert "looks like the boxes of a detector" in model.doubt
    assert read(lambda n, m, v: F.normalize(v), normalisation=False).task == "embedding"
    assert not read(linear, normalisation=False).doubt


# Labels


def first_of(n, m, v):
    return n.linear(v).topk(3)


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        lambda n, m, v: n.linear(v).argmax(1),
        lambda n, m, v: n.linear(v).argmax(1, keepdim=True),
        lambda n, m, v: n.linear(v).argmax(1).int(),
        lambda n, m, v: n.linear(v).argmax(1).float(),
        lambda n, m, v: n.linear(v).max(1)[1],
        lambda n, m, v: tuple(n.linear(v).topk(3)),
        lambda n, m, v: tuple(reversed(n.linear(v).topk(3))),
    ],
)
def test_labels_are_labels(head, as_file, tmp_path):
    model = read(head, onnx_file=tmp_path / "m.onnx" if as_file else None)
    assert (model.task, model.outputs_labels, model.num_classes) == ("classification", True, 10)
    expected = Net(linear).eval()(batch(8)).argmax(1)
    assert torch.equal(model.run(batch(8)), expected[:, None].float())


def test_sorted_scores_alone_are_refused():
    refused(lambda n, m, v: n.linear(v).topk(3)[0], "sorted scores .a top-k made it")


def test_whole_numbers_of_unknown_meaning_are_asked_about():
    tip = refused(lambda n, m, v: (n.linear(v)[:, 0] * 10).long(), "a label or a count")
    assert "--task classification" in tip
    model = read(lambda n, m, v: (n.linear(v)[:, 0] * 10).long(), task="classification")
    assert (model.outputs_labels, model.num_classes) == (True, None)


def test_scores_without_an_axis_of_classes():
    model = read(lambda n, m, v: n.linear(v)[:, 0].sigmoid())
    assert (model.task, model.num_classes, model.outputs_probabilities) == (
        "classification",
        1,
        True,
    )
    tip = refused(lambda n, m, v: n.linear(v)[:, 0], "returns no scores")
    assert "--task classification reads (N,)" in tip
    assert read(lambda n, m, v: n.linear(v)[:, 0], task="classification").num_classes == 1


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        lambda n, m, v: m[:, :5].argmax(1),
        lambda n, m, v: m[:, :5].argmax(1, keepdim=True),
        lambda n, m, v: m[:, :5].argmax(1).int(),
        lambda n, m, v: m[:, :5].argmax(1, keepdim=True).to(torch.uint8),
        lambda n, m, v: m[:, :5].argmax(1, keepdim=True).float(),
        lambda n, m, v: m[:, :5].argmax(1)[..., None],
    ],
)
def test_label_maps_are_labels(head, as_file, tmp_path):
    model = read(head, onnx_file=tmp_path / "m.onnx" if as_file else None)
    assert (model.task, model.outputs_labels, model.num_classes) == ("segmentation", True, 5)
    expected = Net(lambda n, m, v: m[:, :5]).eval()(batch()).argmax(1)
    assert torch.equal(model.run(batch()), expected[:, None].float())


def test_whole_numbers_of_pixels_are_asked_about():
    def grey(n, m, v):
        return (m[:, :1].sigmoid() * 255).to(torch.uint8)

    tip = refused(grey, "ids of classes or the grey of pixels")
    assert "--task segmentation" in tip
    assert "--task image" in tip
    assert read(grey, task="segmentation").outputs_labels
    assert not read(grey, task="image").outputs_labels


def test_maps_without_channels_where_the_task_is_given():
    head = lambda n, m, v: m[:, 0]  # noqa: E731
    assert "--task segmentation or image" in refused(head, "returns no scores")
    assert read(head, task="image").run(batch()).shape == (3, 1, SIZE, SIZE)


def test_rows_of_a_detector_without_a_name_are_no_maps():
    def rows(n, m, v):
        return n.linear(v)[:, :8, None].expand(-1, -1, SIZE * SIZE // 16)

    tip = refused(rows, "returns no scores")
    for said in ("--detector", "--task detection", "docs/detection.md"):
        assert said in tip
    assert "segmentation" not in tip


# One number


def test_one_logit_is_compared_by_its_size_between_backends():
    model = read(lambda n, m, v: n.linear(v)[:, :1], backend="onnxruntime")
    assert (model.backend, model.num_classes) == ("onnxruntime", 1)
