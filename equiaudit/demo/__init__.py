"""A tiny trained classifier of metal surfaces and 64 images of our own making.

`python benchmarks/demo_train.py --out DIR` makes all of it again. Does not import torch.
"""

from pathlib import Path

__all__ = ["DEMO_ARCH", "images_path", "preprocess_path", "weights_path"]

DEMO_ARCH = "equiaudit.demo.net:demo_net"
"""What `--arch` takes for the weights."""

_HERE = Path(__file__).parent


def weights_path() -> Path:
    """State dict of `equiaudit.demo.net.demo_net()`, safetensors, float32."""
    return _HERE / "demo.safetensors"


def preprocess_path() -> Path:
    """The preprocessing file beside the weights."""
    return _HERE / "demo.safetensors.toml"


def images_path() -> Path:
    """64 PNG images of 64x64 px in 8 class folders; none was trained on."""
    return _HERE / "images"
