"""The total stride is that of the deepest map, whatever way the model gets there."""

import pytest
import torch
import torchvision
from artefacts import write_onnx, write_torchscript
from nets import resnet20
from torch import nn

from equiaudit.models import total_stride
from equiaudit.models.onnx_stride import onnx_total_stride


@pytest.mark.parametrize(
    ("name", "side", "stride"),
    [
        ("squeezenet1_1", 96, 16),
        ("resnet18", 64, 32),
        ("convnext_tiny", 64, 32),
        ("vit_b_16", 224, 16),
        ("swin_t", 224, 32),
    ],
)
def test_torchvision_models(name, side, stride):
    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None).eval()
    image = torch.empty(1, 3, side, side, device="meta")
    assert total_stride(module, image) == (stride, stride)


def test_the_map_must_have_more_than_one_value():
    module = torchvision.models.resnet18(weights=None).eval()
    assert total_stride(module, torch.zeros(1, 3, 32, 32)) == (16, 16)


def test_resnet20_as_module_script_and_trace(tmp_path):
    module, image = resnet20().eval(), torch.zeros(1, 3, 32, 32)
    assert total_stride(module, image) == (4, 4)
    for scripted in (False, True):
        path = write_torchscript(module, tmp_path / "m.pt", image, scripted=scripted)
        assert total_stride(torch.jit.load(str(path)), image) == (4, 4)


class Sampled(nn.Module):
    def __init__(self, sample):
        super().__init__()
        self.sample = sample

    def forward(self, x):
        return self.sample(x)


def patchify(x):
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // 4, 4, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return cells.reshape(n, c * 8, h // 4, w // 2)


@pytest.mark.parametrize(
    ("sample", "stride"),
    [
        (lambda x: x[:, :, ::2, ::3], (2, 3)),
        (lambda x: nn.functional.max_pool2d(x, (2, 4)), (2, 4)),
        (lambda x: nn.functional.avg_pool2d(x, 3, stride=2), (2, 2)),
        (lambda x: nn.functional.pixel_unshuffle(x, 4), (4, 4)),
        (patchify, (4, 2)),
        (lambda x: nn.functional.adaptive_avg_pool2d(x, (6, 12)), (4, 2)),
        (lambda x: nn.functional.interpolate(x, scale_factor=0.5), (2, 2)),
        (lambda x: nn.functional.interpolate(x[:, :, ::4, ::4], scale_factor=2)[..., 1:], (4, 4)),
        (lambda x: x.permute(0, 2, 3, 1)[:, ::2, ::4].permute(0, 3, 1, 2), (2, 4)),
        (lambda x: nn.functional.pad(x, (1, 1, 1, 1))[:, :, ::2, ::2], (2, 2)),
        (lambda x: torch.cat([x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]], 1).relu(), (2, 2)),
        (lambda x: x.mean((2, 3), keepdim=True), (1, 1)),
    ],
)
def test_operators(sample, stride, tmp_path):
    module, image = Sampled(sample), torch.rand(1, 3, 24, 24)
    assert total_stride(module, image) == stride
    path = write_onnx(module.eval(), tmp_path / "m.onnx", image, dynamic_batch=False)
    assert onnx_total_stride(path, (24, 24), "NCHW") == stride


def test_channels_last_input():
    def sample(x):
        return nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2)

    assert total_stride(Sampled(sample), torch.zeros(1, 3, 8, 8), layout="NHWC") == (2, 2)


def test_a_model_that_fails_has_no_stride():
    def sample(x):
        raise ValueError

    assert total_stride(Sampled(sample), torch.zeros(1, 3, 8, 8)) is None
