"""Figures of models that return labels, or maps with channels last: those of their scores."""

import itertools

import numpy as np
import onnx
import pytest
import torch
from dense_small import CLASSES, segmenter, slow_agreement, write_masks
from small import MEAN, SIZE, STD, brute_force, small_net, write_images
from torch import nn

import equiaudit
from equiaudit.errors import InputError

WINDOW = (16, 20)
QUICK = {"max_shift": 2, "offsets": "full", "device": "cpu", "backend": "torch"}
SEEN = {"mean": MEAN, "std": STD}


class Behind(nn.Module):
    """A net and what is made of its output."""

    def __init__(self, net, make):
        super().__init__()
        self.net, self.make = net, make

    def forward(self, x):
        return self.make(self.net(x))


def scanned(net, data, **options):
    return equiaudit.scan(net, data, **{**QUICK, **SEEN, **options})


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return write_images(folder, count=8, classes=("0", "1", "2", "3"))


@pytest.fixture(scope="module")
def logits(photos):
    return scanned(small_net(), photos, size=SIZE, accuracy_check=False)


LABELS = {
    "int64": lambda y: y.argmax(1),
    "int32": lambda y: y.argmax(1).int(),
    "column": lambda y: y.argmax(1, keepdim=True),
    "float": lambda y: y.argmax(1).float(),
    "top-k": lambda y: tuple(y.softmax(1).topk(2)),
}
_SCORED = ("confidence_wobble", "logit_error", "logit_error_max")


@pytest.mark.parametrize("make", LABELS.values(), ids=LABELS)
def test_labels_alone_give_the_figures_of_logits(make, photos, logits, tmp_path):
    net = Behind(small_net(), make)
    found = scanned(net, photos, size=SIZE, accuracy_check=False, output=tmp_path)
    for kind, shift in found.shifts.items():
        expected = dict(logits.shifts[kind].metrics)
        for name in _SCORED:
            del expected[name]
        assert shift.metrics == expected
        assert shift.agreement_map == logits.shifts[kind].agreement_map
    assert any("labels without scores" in note for note in found.notes)
    assert found.boundary == logits.boundary
    assert {w.clean_confidence for w in found.worst} == {None}
    assert "sure unshifted" not in (tmp_path / "report.html").read_text()
    assert ",nan," not in (tmp_path / "samples.csv").read_text()
    assert equiaudit.load_result(tmp_path).worst == found.worst


def test_labels_alone_equal_a_plain_loop(photos):
    net = small_net()
    found = scanned(Behind(net, LABELS["int64"]), photos, size=SIZE, accuracy_check=False)
    slow = brute_force(net, photos, "circular", 2)
    assert found.metric("circular.consistency").value == pytest.approx(slow["consistency"])
    assert found.metric("circular.agreement").value == pytest.approx(slow["agreement"])


@pytest.mark.parametrize("name", _SCORED)
def test_gates_on_scores_of_a_model_without_are_refused_before_a_pass(name, photos, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the scan began")

    monkeypatch.setattr("equiaudit.audit.engine.run_scan", never)
    net = Behind(small_net(), LABELS["int64"])
    with pytest.raises(InputError, match=f"circular.{name}<=0.5' needs scores") as caught:
        scanned(net, photos, size=SIZE, gates=[f"circular.{name}<=0.5"])
    assert "agreement" in caught.value.tip
    with pytest.raises(AssertionError, match="the scan began"):
        scanned(net, photos, size=SIZE, gates=["circular.agreement>=0.5"])


# Maps


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masked"), count=2)


@pytest.fixture(scope="module")
def of_scores(masked):
    return scanned(segmenter(), masked, size=WINDOW)


MAPS = {
    "int64 (N, H, W)": lambda y: y.argmax(1),
    "uint8 (N, 1, H, W)": lambda y: y.argmax(1, keepdim=True).to(torch.uint8),
    "int32 (N, 1, H, W)": lambda y: y.argmax(1, keepdim=True).int(),
    "float (N, 1, H, W)": lambda y: y.argmax(1, keepdim=True).float(),
    "int64 (N, H, W, 1)": lambda y: y.argmax(1)[..., None],
    "scores (N, H, W, C)": lambda y: y.permute(0, 2, 3, 1),
}


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_maps_give_the_figures_of_scores(make, masked, of_scores):
    found = scanned(Behind(segmenter(), make), masked, size=WINDOW)
    assert set(found.shifts) == set(of_scores.shifts)
    for kind, shift in found.shifts.items():
        assert shift.metrics == of_scores.shifts[kind].metrics
        assert shift.dense.classes == of_scores.shifts[kind].dense.classes
    assert found.boundary == of_scores.boundary


def test_label_maps_equal_a_plain_loop(masked):
    net = segmenter()
    found = scanned(Behind(net, MAPS["uint8 (N, 1, H, W)"]), masked, size=WINDOW, limit=1)
    file = found.examples[0].file
    pixels = np.asarray(_opened(masked / "images" / file), np.float32)[5:21, 5:25]
    x = torch.from_numpy((pixels / 255 - np.float32(MEAN)) / np.float32(STD))
    x = x.permute(2, 0, 1)[None]
    with torch.inference_mode():
        clean = net(x)[0].argmax(0).numpy()
        shares = [
            slow_agreement(clean, net(x.roll(s, (2, 3)))[0].argmax(0).numpy(), "circular", *s)
            for s in itertools.product(range(-2, 3), repeat=2)
            if s != (0, 0)
        ]
    value = found.metric("circular.mascc").value
    assert value == pytest.approx(np.mean(shares), abs=1e-9)


def _opened(path):
    from PIL import Image

    matches = [path] if path.is_file() else sorted(path.parent.rglob(path.name))
    return Image.open(matches[0]).convert("RGB")


def test_a_map_of_labels_has_as_many_classes_as_are_named(masked, tmp_path):
    def unknown(y):
        return (y.argmax(1) + 0).long()

    with pytest.raises(InputError, match="nothing says how many classes"):
        scanned(Behind(segmenter(), unknown), masked, size=WINDOW)
    table = tmp_path / "classes.csv"
    table.write_text("name,index\n" + "".join(f"c{i},{i}\n" for i in range(CLASSES)))
    found = scanned(Behind(segmenter(), unknown), masked, size=WINDOW, classes=table)
    assert len(found.shifts["circular"].dense.classes) == CLASSES
    table.write_text(table.read_text() + "void,255\n")
    void = scanned(Behind(segmenter(), unknown), masked, size=WINDOW, classes=table)
    assert len(void.shifts["circular"].dense.classes) == CLASSES
    assert void.metric("circular.miou_clean") == found.metric("circular.miou_clean")


@pytest.mark.parametrize("make", [lambda y: y.sigmoid(), lambda y: (y * 0.1 + 0.5).clamp(0, 1)])
def test_channels_that_may_be_right_together_are_asked_about(make, masked):
    net = Behind(segmenter(), make)
    with pytest.raises(InputError, match="may be right together at one place") as caught:
        scanned(net, masked, size=WINDOW)
    assert 'task="segmentation"' in caught.value.tip
    found = scanned(net, masked, size=WINDOW, task="segmentation")
    assert found.fingerprint.task == "segmentation"
    softmax = Behind(segmenter(), lambda y: make(y).softmax(1))
    assert scanned(softmax, masked, size=WINDOW).fingerprint.task == "segmentation"


def test_images_behind_a_sigmoid_need_no_flag_where_there_are_targets(masked, tmp_path):
    for name in ("images", "targets"):
        (tmp_path / name).symlink_to(masked / "images")
    net = Behind(segmenter(), lambda y: y[:, :3].sigmoid())
    assert scanned(net, tmp_path, size=WINDOW).fingerprint.task == "image"


# Files with channels last, as converters from TensorFlow write them


@pytest.fixture(scope="module")
def channels_last(tmp_path_factory):
    """An ONNX file that takes and returns (N, H, W, C), with a Transpose at either end."""
    path = tmp_path_factory.mktemp("file") / "model.onnx"

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2, 2)
            )

        def forward(self, x):
            return self.net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    torch.onnx.export(
        Turned().eval(),
        (torch.rand(2, 16, 20, 3),),
        path,
        dynamo=False,
        input_names=["image"],
        output_names=["map"],
        dynamic_axes={"image": {0: "n"}, "map": {0: "n"}},
    )
    return path


@pytest.mark.parametrize("method", ["mass", "canonical"])
def test_a_channels_last_file_is_fixed(channels_last, method, tmp_path):
    out = tmp_path / "fixed.onnx"
    how = {"size": WINDOW, **SEEN, "device": "cpu"}
    report = equiaudit.fix(channels_last, out, method=method, seconds=1.0, **how)
    assert report.outcome == "written"
    assert all(v.passed and not v.control.passed for v in report.verifications)
    shape = onnx.load(out).graph.output[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim][1:] == [16, 20, 3]
    assert equiaudit.verify(out, against=channels_last, seconds=1.0, **how).passed


def test_label_maps_are_fixed(tmp_path):
    net = Behind(segmenter(), MAPS["int64 (N, H, W)"]).eval()
    how = {"size": WINDOW, **SEEN, "device": "cpu"}
    report = equiaudit.fix(net, tmp_path / "f.pt", method="canonical", seconds=1.0, **how)
    assert report.outcome == "written"
    assert not report.verifications[0].control.passed
    fixed, x = torch.jit.load(tmp_path / "f.pt"), torch.rand(1, 3, *WINDOW)
    assert torch.equal(fixed(x.roll((3, 5), (2, 3))), fixed(x).roll((3, 5), (1, 2)))
