"""Audits of real weights on real images, against published figures and brute force."""

from pathlib import Path

import cases
import numpy as np
import pytest
import torch
from artefacts import write_onnx, write_pt2, write_torchscript
from nets import resnet20
from PIL import Image

import equiaudit
from equiaudit.data import open_dataset

CIFAR = {"size": (32, 32), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CIRCULAR = {"shifts": ("circular",), "images": False}


def cifar_net():
    weights = cases.path("cifar10") / "weights" / "resnet20-12fca82f.th"
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    net = resnet20()
    net.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return net.eval()


@pytest.fixture(scope="module")
def photos():
    return cases.path("imagenet")


@pytest.fixture(scope="module")
def squeezenets(photos):
    """The same weights as a float16 ONNX file, on all images, and as a torchvision state dict."""
    toml = Path(__file__).parent / "squeezenet.toml"
    settings = {"labels": photos / "labels.csv", "protocol": "mass", "images": False}
    onnx = equiaudit.scan(
        photos / "weights/SqueezeNet_fp16.onnx", photos / "images", preprocess=toml, **settings
    )
    state = equiaudit.scan(
        photos / "weights/squeezenet1_1_torchvision.pt",
        photos / "images",
        arch="torchvision:squeezenet1_1",
        size=(224, 224),
        mean=(123 / 255, 117 / 255, 104 / 255),
        std=(1 / 255,) * 3,
        limit=60,
        **settings,
    )
    return onnx, state


@pytest.mark.long
def test_squeezenet_is_as_accurate_as_published(squeezenets):
    for result, n, accuracy in zip(
        squeezenets, (200, 60), ((0.58, 0.69), (0.5, 0.77)), strict=True
    ):
        assert result.fingerprint.n_images == n
        assert accuracy[0] <= float(result.metric("mass.accuracy_clean")) <= accuracy[1]
    strides = {tuple(r.fingerprint.plan["stride"]) for r in squeezenets}
    assert strides == {(16, 16)}


@pytest.mark.long
def test_float16_onnx_and_float32_torch_agree_but_for_near_ties(photos):
    onnx = equiaudit.load_model(
        photos / "weights/SqueezeNet_fp16.onnx",
        preprocess=Path(__file__).parent / "squeezenet.toml",
    )
    state = equiaudit.load_model(
        photos / "weights/squeezenet1_1_torchvision.pt",
        arch="torchvision:squeezenet1_1",
        size=(224, 224),
        mean=(123 / 255, 117 / 255, 104 / 255),
        std=(1 / 255,) * 3,
    )
    differ = 0
    for path in sorted((photos / "images").iterdir())[:100]:
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)[16:240, 16:240]
        rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        less = rgb - torch.tensor([123.0, 117.0, 104.0]).reshape(1, 3, 1, 1)
        half = onnx.run(less.flip(1).half())[0]
        full = state.run(less)[0].softmax(0)
        assert torch.allclose(half, full, atol=0.02)
        if half.argmax() != full.argmax():
            top = full.topk(2).values
            assert top[0] - top[1] < 0.01, path.name
            differ += 1
    assert differ <= 3


@pytest.mark.long
def test_every_format_gives_the_same_figures(tmp_path):
    cifar = cases.path("cifar10")
    net, example = cifar_net(), torch.rand(2, 3, 32, 32)
    checkpoint = cifar / "weights" / "resnet20-12fca82f.th"
    models = {
        "checkpoint": (checkpoint, {"arch": "nets:resnet20"}),
        "torchscript": (write_torchscript(net, tmp_path / "traced.pt", example), {}),
        "export": (write_pt2(net, tmp_path / "net.pt2", example), {}),
        "onnx": (write_onnx(net, tmp_path / "net.onnx", example), {}),
    }
    found = {
        name: equiaudit.scan(
            path, cifar / "images", limit=60, offsets=6, **CIFAR, **CIRCULAR, **settings
        )
        for name, (path, settings) in models.items()
    }
    kinds = [result.fingerprint.model_kind for result in found.values()]
    assert kinds == ["state_dict", "torchscript", "export", "onnx"]
    assert len({result.fingerprint.plan_hash for result in found.values()}) == 1
    for metric in ("consistency", "agreement", "accuracy_clean", "accuracy_worst"):
        values = {float(result.metric(f"circular.{metric}")) for result in found.values()}
        assert len(values) == 1, (metric, values)
    assert 0.5 < float(found["onnx"].metric("circular.consistency")) < 0.8


@pytest.mark.long
def test_all_offsets_of_eight_images_equal_a_triple_loop():
    cifar = cases.path("cifar10")
    net, reach = cifar_net(), 8
    result = equiaudit.scan(
        net, cifar / "images", limit=8, max_shift=reach, offsets="full", **CIFAR, **CIRCULAR
    )
    chosen = open_dataset(cifar / "images", num_classes=10, limit=8).items
    slow = triple_loop(net, [(item.path, item.label) for item in chosen], reach)
    for name in ("consistency", "agreement", "accuracy_worst"):
        assert float(result.metric(f"circular.{name}")) == pytest.approx(slow[name], abs=1e-12)
    shift = result.shifts["circular"]
    assert np.array_equal(np.array(shift.agreement_map.agree), slow["map"])
    assert np.array_equal(np.array(shift.phase_map.agree), slow["phase"])


def triple_loop(net, files, reach):
    """Image by image, dy by dy, dx by dx; only the last loop's images share a pass."""
    side = range(-reach, reach + 1)
    agree_map, phase = np.zeros((2 * reach + 1,) * 2, int), np.zeros((4, 4), int)
    pairs, kept, worst = [], [], []
    for path, label in files:
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        x = torch.from_numpy((pixels - CIFAR["mean"]) / CIFAR["std"]).float().permute(2, 0, 1)
        labels = {}
        for dy in side:
            row = torch.stack([torch.roll(x, (dy, dx), (1, 2)) for dx in side])
            with torch.inference_mode():
                found = net(row).argmax(1).tolist()
            for dx, prediction in zip(side, found, strict=True):
                labels[dy, dx] = prediction
        clean = labels.pop((0, 0))
        for (dy, dx), prediction in labels.items():
            agree_map[dy + reach, dx + reach] += prediction == clean
            phase[dy % 4, dx % 4] += prediction == clean
        counts = np.bincount(list(labels.values()))
        k = len(labels)
        pairs.append((counts * (counts - 1)).sum() / (k * (k - 1)))
        kept.append(np.mean([p == clean for p in labels.values()]))
        worst.append(all(p == label for p in labels.values()))
    return {
        "consistency": np.mean(pairs),
        "agreement": np.mean(kept),
        "accuracy_worst": np.mean(worst),
        "map": agree_map,
        "phase": phase,
    }
