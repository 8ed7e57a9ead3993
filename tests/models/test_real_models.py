"""Real weights in every kind of file give the same answers."""

import cases
import numpy as np
import pytest
import torch
from artefacts import write_onnx, write_pt2, write_torchscript
from PIL import Image
from torch import Tensor

from equiaudit.models import Preprocess, PreprocessOverrides, load

CIFAR = PreprocessOverrides(size=(32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SQUEEZENET_FP16 = """
size = [224, 224]
pixel_range = 255
mean = [123, 117, 104]
std = [1, 1, 1]
channels = "bgr"
dtype = "float16"
"""


def prepared(paths, seen: Preprocess) -> Tensor:
    """Centre crops, prepared step by step from the words of `Preprocess`."""
    height, width = seen.size
    batch = []
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) / 255
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        window = pixels[top : top + height, left : left + width]
        normal = (window - np.array(seen.mean)) / np.array(seen.std)
        ordered = normal[..., ::-1] if seen.channels == "bgr" else normal
        batch.append(np.moveaxis(ordered, 2, 0))
    return torch.from_numpy(np.stack(batch)).to(getattr(torch, seen.dtype))


def resnet20_checkpoint():
    path = cases.path("cifar10") / "weights" / "resnet20-12fca82f.th"
    return load(path, arch="nets:resnet20", preprocess=CIFAR, device="cpu")


def test_resnet20_is_the_same_in_every_kind_of_file(tmp_path):
    model = resnet20_checkpoint()
    images = sorted((cases.path("cifar10") / "images").rglob("*.png"))[::50]
    batch = prepared(images, model.preprocess)
    logits = model.run(batch)
    names = sorted({path.parent.name for path in images})
    labels = torch.tensor([names.index(path.parent.name) for path in images])
    assert (logits.argmax(1) == labels).float().mean() > 0.8
    example = batch[:2]
    paths = [
        write_torchscript(model.module, tmp_path / "traced.pt", example),
        write_torchscript(model.module, tmp_path / "scripted.pt", example, scripted=True),
        write_pt2(model.module, tmp_path / "m.pt2", example),
        write_onnx(model.module, tmp_path / "m.onnx", example),
    ]
    for path in paths:
        other = load(path, preprocess=CIFAR, device="cpu")
        assert (other.run(batch) - logits).abs().max() < 1e-5 * logits.abs().max()
        assert (other.num_classes, other.total_stride) == (10, (4, 4))


@pytest.fixture(scope="module")
def squeezenets(tmp_path_factory):
    weights = cases.path("imagenet") / "weights"
    file = tmp_path_factory.mktemp("pre") / "fp16.toml"
    file.write_text(SQUEEZENET_FP16)
    overrides = PreprocessOverrides(
        size=(224, 224), mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3
    )
    half = load(
        weights / "SqueezeNet_fp16.onnx", preprocess=PreprocessOverrides(file=file), device="cpu"
    )
    full = load(
        weights / "squeezenet1_1_torchvision.pt",
        arch="torchvision:squeezenet1_1",
        preprocess=overrides,
        device="cpu",
    )
    return half, full


def test_squeezenet_fp16_agrees_with_the_state_dict(squeezenets):
    half, full = squeezenets
    images = sorted((cases.path("imagenet") / "images").glob("*.jpg"))[:10]
    low = half.run(prepared(images, half.preprocess))
    high = full.run(prepared(images, full.preprocess)).softmax(1)
    assert (low - high).abs().max() < 0.01
    assert (low.argmax(1) == high.argmax(1)).all()


def test_squeezenet_facts(squeezenets):
    half, full = squeezenets
    assert (half.fixed_batch, half.outputs_probabilities) == (1, True)
    assert (full.fixed_batch, full.outputs_probabilities) == (None, False)
    assert half.preprocess.source["dtype"].startswith("--preprocess")
    for model in squeezenets:
        assert (model.num_classes, model.total_stride) == (1000, (16, 16))
