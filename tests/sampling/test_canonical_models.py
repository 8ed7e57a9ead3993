"""Canonical in front of whole models that no rewriting can make exact, and of real weights."""

import cases
import numpy as np
import pytest
import torch
import torchvision
from nets import resnet20
from pictures import photographs, rolled
from PIL import Image
from torch import nn

from equiaudit.sampling.canonical import Canonical, CanonicalPosition

SIZES = {"vit_b_16": 224, "swin_t": 224, "vgg11_bn": 64, "squeezenet1_1": 96}


@pytest.mark.long
@pytest.mark.parametrize("name", SIZES)
def test_torchvision_models_become_bit_equal(name):
    torch.manual_seed(0)
    net = torchvision.models.get_model(name).eval()
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.05)  # vit_b_16 starts with a head of zeros
    size = (SIZES[name], SIZES[name])
    images = photographs(2, size).float() / 255 - 0.45
    moved = rolled(images, torch.tensor([[1, 3], [37, 50]]))
    with torch.inference_mode():
        fixed = Canonical(net)
        assert torch.equal(fixed(moved), fixed(images))
        assert not torch.equal(net(moved), net(images))


def test_a_real_net_keeps_its_labels_and_gets_no_new_ones():
    folder = cases.path("cifar10")
    file = folder / "weights/resnet20-12fca82f.th"
    saved = torch.load(file, map_location="cpu", weights_only=True)
    net = resnet20().eval()
    net.load_state_dict({k.removeprefix("module."): v for k, v in saved["state_dict"].items()})
    files = sorted((folder / "images").glob("*/*"))[::10]
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(f)) for f in files]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    shifts = torch.randint(1, 32, (100, 2), generator=torch.Generator().manual_seed(0))
    moved = rolled(images, shifts)
    with torch.inference_mode():
        assert (CanonicalPosition()(images) == 0).all(1).double().mean() >= 0.85
        before, after = net(images).argmax(1), Canonical(net)(moved)
        assert torch.equal(after, Canonical(net)(images))
        assert (after.argmax(1) == before).double().mean() >= 0.97
        assert (net(moved).argmax(1) == before).double().mean() < 0.85
