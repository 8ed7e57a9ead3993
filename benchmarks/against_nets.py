"""The nets of `against.py`, as `--arch against_nets:NAME` takes them; nothing else is imported."""

from __future__ import annotations

from torch import nn


def resnet20() -> nn.Module:
    """For CIFAR-10, untrained."""
    from nets import resnet20

    return resnet20()


def unet() -> nn.Module:
    """Two classes, an encoder of ResNet-34, untrained."""
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet34", encoder_weights=None, classes=2)


def demo() -> nn.Module:
    """The net of `equiaudit demo`, untrained."""
    from equiaudit.demo.net import demo_net

    return demo_net()
