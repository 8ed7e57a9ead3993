"""Image models that transformers saved, built and filled by transformers, strictly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiaudit.errors import InputError, first_line
from equiaudit.models.checkpoint import read_checkpoint, read_safetensors

_SHOWN = 3
_ROOM = 1 << 26  # bytes of buffers that a net makes and a file need not hold
_SEGMENTERS = "ForSemanticSegmentation"


class _ImageNet(nn.Module):
    """Pixels in, the tensors of the output out: logits alone where those are all there is.

    Maps of a segmenter are brought to the size of the image, as transformers'
    `post_process_semantic_segmentation` does.
    """

    def __init__(self, net: nn.Module, enlarges: bool) -> None:
        super().__init__()
        self.net = net
        self.enlarges = enlarges

    def forward(self, pixels: Tensor) -> Any:
        returned = self.net(pixel_values=pixels, return_dict=True)
        tensors = {name: item for name, item in returned.items() if isinstance(item, Tensor)}
        logits = tensors.get("logits")
        if logits is None or "pred_boxes" in tensors:
            return tensors
        if self.enlarges:
            return F.interpolate(
                logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False
            )
        return logits


def load_pretrained(
    transformers: Any, path: Path, config: dict[str, Any]
) -> tuple[nn.Module, tuple[Path, ...], tuple[str, ...]]:
    """The net in a folder of transformers, the files it is made of, and what is worth saying.

    Raises InputError where the net is not one of transformers' own, takes no images, or its
    weights are not whole.
    """
    named = config.get("architectures") or [None]
    name = str(named[0])
    net = getattr(transformers, name, None)
    if not isinstance(net, type) or not issubclass(net, transformers.PreTrainedModel):
        raise InputError(
            f"{path} holds {name[:60]!r}, which transformers {transformers.__version__} does not"
            " have; code in the folder is not run.",
            tip="Export the model to ONNX, and give that file.",
        )
    if getattr(net, "main_input_name", "") != "pixel_values":
        raise InputError(f"{path} holds {name}, which takes no images.")
    if "quantization_config" in config:
        raise InputError(f"{path} holds quantised weights.", tip="Save it in float32 or float16.")
    files = _checked_files(path)
    module = _filled(net, path, name, sum(file.stat().st_size for file in files))
    enlarges = name.endswith(_SEGMENTERS)
    notes = ("maps enlarged to the image, bilinear, as transformers does",) if enlarges else ()
    return _ImageNet(module, enlarges), (*files, path / "config.json"), notes


def _checked_files(path: Path) -> tuple[Path, ...]:
    """The files of weights; each is read once, without code, before transformers does."""
    safe = sorted(path.glob("model*.safetensors"))
    files = safe or sorted(path.glob("pytorch_model*.bin"))
    if not files:
        raise InputError(f"{path} holds no weights (model.safetensors or pytorch_model.bin).")
    for file in files:
        if file.suffix == ".bin":
            read_checkpoint(file, trust=False)
        else:
            read_safetensors(file)
    return tuple(files)


def _filled(net: Any, path: Path, name: str, held: int) -> nn.Module:
    try:
        settings = net.config_class.from_pretrained(str(path), local_files_only=True)
        if hasattr(settings, "use_pretrained_backbone"):
            settings.use_pretrained_backbone = False
        with torch.device("meta"):
            empty = net(settings)
    except Exception as error:  # a config can ask for anything
        raise InputError(f"{name} in {path} cannot be built: {first_line(error)}.") from error
    wanted = sum(tensor.numel() for tensor in empty.parameters())
    if wanted > held + _ROOM:  # a weight takes a byte at least
        raise InputError(f"{path} states {wanted:,} weights and holds {held:,} bytes.")
    try:
        module, found = net.from_pretrained(
            str(path),
            config=settings,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:
        raise InputError(f"{name} in {path} cannot be loaded: {first_line(error)}.") from error
    lacks = [
        _counted("missing from the file", found["missing_keys"]),
        _counted("not in the architecture", found["unexpected_keys"]),
        _counted("of another shape", [str(item[0]) for item in found["mismatched_keys"]]),
    ]
    if any(lacks):
        raise InputError(
            f"{path} does not fit {name}: {'; '.join(filter(None, lacks))}.",
            tip="Save it again with save_pretrained.",
        )
    assert isinstance(module, nn.Module)
    return module


def _counted(what: str, keys: Sequence[str] | set[str]) -> str:
    names = sorted(keys)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})" if names else ""
