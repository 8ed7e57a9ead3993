"""The preprocessing that frameworks keep beside a model, as fields of `Preprocess`.

What is read is what the field's libraries do with the same file. A setting whose meaning differs
between processors, or that has no counterpart here, is left to the flags.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equiaudit.errors import InputError
from equiaudit.models.preprocess import Given, Hints

_LARGEST_JSON = 1 << 20
_PROCESSOR = "preprocessor_config.json"
_ALBUMENTATIONS = "albumentations_config_eval.json"
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_SHORTEST = re.compile(r"MobileNetV|MobileViT|Bit|CLIP|Siglip|ConvNext|ResNet|Dinov2|PoolFormer")
"""Processors to which a size of one number is the shorter side; to the others, both."""
_CUTS = re.compile(r"DeiT|Deit|MobileNetV|MobileViT|Bit|CLIP|Dinov2|PoolFormer")
"""Processors that cut the middle where the file does not say."""
# Processors that do no more than resize, cut the middle, rescale and normalise.
_PLAIN = re.compile(
    r"(?:ViT|Deit|DeiT|Beit|BeiT|BEiT|Segformer|MobileNetV[12]|MobileViT|Bit|CLIP|Siglip|Swin|"
    r"ConvNext|ResNet|Dinov2|PoolFormer|Pvt)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?"
)
_SHORTEST_BELOW = 384  # ConvNextImageProcessor: crop_pct counts below, the image is squashed above
_DEFAULT_CROP = 224 / 256
_POOLFORMER_CROP = 0.9
_TIMM_CROP = 0.875


def timm_hints(config: Mapping[str, Any], source: str) -> Hints:
    """What timm's `pretrained_cfg` says; nothing where it states no size of the input."""
    if "input_size" not in config:
        return Hints()
    channels, height, width = config["input_size"]
    values = {
        **_timm_geometry((height, width), config),
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "interpolation": config.get("interpolation"),
        "channels": "gray" if channels == 1 else "rgb" if channels == 3 else "multi",
    }
    return _hints({key: value for key, value in values.items() if value is not None}, source)


def _timm_geometry(window: tuple[int, int], config: Mapping[str, Any]) -> dict[str, Any]:
    """Window and resize; nothing where images are padded to it (crop_mode "border")."""
    share = config.get("crop_pct") or _TIMM_CROP
    height, width = (math.floor(side / share) for side in window)
    mode = config.get("crop_mode") or "center"
    if mode == "squash":
        return {"size": window, "resize": (height, width)}
    if mode != "center" or height != width:  # the shorter side depends on the image
        return {}
    return {"size": window, "resize": height}


def transformers_hints(path: Path) -> Hints:
    """What `preprocessor_config.json` says, where it says it as the plain processors do."""
    config = _read(path / _PROCESSOR)
    if config is None:
        return Hints()
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    if not _PLAIN.fullmatch(name):
        return Hints()
    values = {**_normalisation(config), **_geometry(config, name)}
    return _hints(values, _PROCESSOR)


def _normalisation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and std for pixels in [0, 1], whatever the file rescales by."""
    if config.get("rescale_offset") or config.get("offset"):
        return {}
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    normalises = config.get("do_normalize", True)
    mean = config.get("image_mean") if normalises else [0.0] * 3
    std = config.get("image_std") if normalises else [1.0] * 3
    if not _are_numbers(mean) or not _are_numbers(std) or not _are_numbers([factor]):
        return {}
    scale = 255 * factor
    scale = 1.0 if abs(scale - 1) < 1e-6 else scale
    if scale <= 0:
        return {}
    values: dict[str, Any] = {
        "mean": tuple(value / scale for value in mean or ()),
        "std": tuple(value / scale for value in std or ()),
    }
    flips = config.get("do_flip_channel_order", False)
    if flips:  # mean and std come before the flip, on RGB
        values["channels"] = "bgr"
    return values


def _geometry(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The window and the resize before it."""
    size, crop = config.get("size"), _sides(config.get("crop_size"))
    side, keeps = _sides(size), _keeps_proportions(size, name)
    cuts = config.get("do_center_crop")
    cuts = bool(_CUTS.match(name)) if cuts is None else cuts
    values: dict[str, Any] = {}
    if config.get("resample") in _RESAMPLING:
        values["interpolation"] = _RESAMPLING[config["resample"]]
    if not config.get("do_resize", True):
        return values | ({"size": crop} if cuts and crop else {})
    if side is None:
        return values
    if name.startswith(("ConvNext", "ResNet")):
        edge = side[0]
        share = config.get("crop_pct") or _DEFAULT_CROP
        resize = int(edge / share) if edge < _SHORTEST_BELOW else (edge, edge)
        return values | {"size": (edge, edge), "resize": resize}
    if name.startswith("PoolFormer"):
        share = config.get("crop_pct") or _POOLFORMER_CROP
        side, keeps = (int(side[0] / share), int(side[1] / share)), side[0] == side[1]
    values["resize"] = side[0] if keeps else side
    if cuts:
        return values | ({"size": crop} if crop else {})
    return values if keeps else values | {"size": side}


def _keeps_proportions(size: Any, name: str) -> bool:
    """Whether the shorter side is meant, not height and width; a number is as the class has it."""
    if isinstance(size, dict):
        return "shortest_edge" in size
    return isinstance(size, int) and bool(_SHORTEST.match(name))


def _as_dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sides(value: Any) -> tuple[int, int] | None:
    """(H, W) of a size of transformers: a number, a shortest edge, or height and width."""
    if isinstance(value, dict):
        edge = value.get("shortest_edge")
        value = [value.get("height", edge), value.get("width", edge)]
    sides = value if isinstance(value, list) else [value, value]
    usable = len(sides) == 2 and all(type(side) is int and 0 < side < 1 << 16 for side in sides)
    return (sides[0], sides[1]) if usable else None


def smp_hints(smp: Any, encoder: str, weights: Any) -> Hints:
    """The preprocessing of the encoder's own weights, where they were used and it is known here.

    segmentation_models_pytorch looks it up in timm, or in what the hub's cache holds.
    """
    if not isinstance(weights, str):
        return Hints()
    try:
        stated = smp.encoders.get_preprocessing_params(encoder, pretrained=weights)
    except Exception:  # not cached, not pretrained, or unknown: the flags say it
        return Hints()
    top = max(stated["input_range"])
    values = {
        "mean": tuple(value / top for value in stated["mean"]),
        "std": tuple(value / top for value in stated["std"]),
        "channels": str(stated["input_space"]).lower(),
    }
    return _hints(values, f"segmentation_models_pytorch, {encoder} {weights}")


def albumentations_hints(path: Path) -> Hints | None:
    """Mean and std of the one Normalize in a saved albumentations transform; None without one."""
    config = _read(path / _ALBUMENTATIONS)
    steps = _as_dict((config or {}).get("transform")).get("transforms")
    named = [s for s in (steps if isinstance(steps, list) else []) if isinstance(s, dict)]
    found = [s for s in named if str(s.get("__class_fullname__", "")).endswith("Normalize")]
    if len(found) != 1:
        return None
    normalise: dict[str, Any] = found[0]
    mean, std = normalise.get("mean") or (), normalise.get("std") or ()
    top = normalise.get("max_pixel_value")
    top = 255.0 if top is None else top
    standard = normalise.get("normalization", "standard") == "standard"
    if not standard or not _are_numbers(mean) or not _are_numbers(std) or not _are_numbers([top]):
        return None
    scale = top / 255  # (x / top - mean) / std for pixels in 0..255
    values = {"mean": tuple(m * scale for m in mean), "std": tuple(s * scale for s in std)}
    return _hints(values, _ALBUMENTATIONS)


def _are_numbers(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) in (1, 3)
        and all(type(value) in (int, float) and abs(value) < 1e30 for value in values)
    )


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError("it is larger than a megabyte")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON.") from error
    return content if isinstance(content, dict) else None


def _hints(values: Mapping[str, Any], source: str) -> Hints:
    return Hints({key: Given(value, source) for key, value in values.items()})
