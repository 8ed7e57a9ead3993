"""How images become the model's input: stated by flags, a sidecar or the model; never guessed.

A preprocessing file is TOML with these keys, all optional but for what nothing else states:

    size = [224, 224]             # H, W of the window the model sees, px
    mean = [0.485, 0.456, 0.406]  # RGB order whatever `channels` says; one value for gray, 4 to
                                  # 32 in the order of the file's channels for multi
    std = [0.229, 0.224, 0.225]
    pixel_range = 1               # 255: mean and std are for pixels in 0..255
    channels = "rgb"              # "rgb" | "bgr" | "gray" | "multi"
    dtype = "float32"             # "float32" | "float16" | "uint8" (raw pixels)
    layout = "NCHW"               # "NCHW" | "NHWC"
    resize = 256                  # shorter side before the centre crop, px; [H, W]: both sides
    interpolation = "bilinear"    # "nearest" | "bilinear" | "bicubic"
    fit = "crop"                  # "letterbox": the whole image scaled to fit, the rest padded
    place = "centre"              # "centre" | "top-left": where a letterboxed image stands
    pad = 114                     # grey beside it, 0..255
    image_range = [0, 4095]       # black and white of images with more than 8 bits a channel
    crop_margin = 16              # the model chooses among crops, this much smaller than the window
    crop_votes = 4                # and averages so many of them
    task = "classification"       # and how the output is read: what scan --task takes,
    output = "logits"             # which one, by name or place,
    output_layout = "NCHW"        # "NCHW" | "NHWC": where a map has its channels,
    threshold = 0.5               # where binary and multilabel say yes
    [detector]                    # how boxes are made of the outputs, see models.detectors
    [runtimes.NAME]               # what a runtime has to be told, as `fix --for` writes; not read

The model receives (pixel_range * x - mean) / std for x in [0, 1]. The same text can travel
inside a model: ONNX metadata and safetensors metadata under `PREPROCESS_KEY`, TorchScript and
`torch.export` archives as the extra file "preprocess.toml".
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equiaudit.errors import InputError
from equiaudit.models.preprocess_values import CHECKS, CHOICES, FEWEST, MULTI, READINGS, shown
from equiaudit.models.types import Preprocess

PREPROCESS_KEY = "equiaudit.preprocess"
PREPROCESS_EXTRA_FILE = "preprocess.toml"

_DEFAULTS: dict[str, Any] = {
    "channels": "rgb",
    "dtype": "float32",
    "layout": "NCHW",
    "resize": None,
    "interpolation": "bilinear",
    "image_range": None,
    "fit": "crop",
    "place": "centre",
    "pad": 114,
    "crop_margin": 0,
    "crop_votes": 1,
}
# Bytes. Reading TOML takes time that grows with the square of a dotted key.
_LARGEST_FILE = 1 << 14
_FLAGS = {
    "size": "--size HxW",
    "mean": "--mean R,G,B",
    "std": "--std R,G,B",
    "image_range": "--image-range LOW,HIGH",
}


@dataclass(frozen=True)
class Given:
    """One field's value and where it came from."""

    value: Any
    source: str


PreprocessFields = Mapping[str, Given]
"""What one source states: `Preprocess` field name -> value and origin."""


@dataclass(frozen=True)
class PreprocessOverrides:
    """What the caller states; wins over every other source.

    `mean` and `std` are per channel on RGB in [0, 1], as the flags of the same name; `file`
    is a preprocessing TOML, which the other three override.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_range: tuple[float, float] | None = None
    file: Path | str | None = None
    lent: PreprocessFields = field(default_factory=dict)
    """What another model's file says, for what this one's does not."""


@dataclass(frozen=True)
class Hints:
    """What the model itself says: metadata, and facts that cannot be overridden."""

    stated: PreprocessFields = field(default_factory=dict)
    fixed: PreprocessFields = field(default_factory=dict)
    planes: int | None = None
    """Channels of the input, where the file says that they are neither 1 nor 3."""


def read_preprocess_file(path: Path | str, *, origin: str = "file") -> PreprocessFields:
    """The fields that a preprocessing TOML states; mean and std converted to [0, 1].

    Raises InputError where the file cannot be read, or naming the key that is unknown or
    has the wrong type.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"Cannot read the preprocessing file {path}: {reason}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The preprocessing file {path} is not UTF-8 text.") from error
    return parse_preprocess(text, where=str(path), source=f"{origin} {path.name}")


def parse_preprocess(text: str, *, where: str, source: str) -> PreprocessFields:
    """The fields that TOML `text` states; `where` names it in errors, `source` in results."""
    if len(text) > _LARGEST_FILE:
        raise InputError(
            f"{where} is longer than {_LARGEST_FILE >> 10} KiB.", tip="Keep only the fields."
        )
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an int of too many digits is a ValueError
        raise InputError(f"{where} is not TOML: {error}.") from error
    if isinstance(table.get("runtimes"), dict):  # how to run the file, which changes no image
        del table["runtimes"]
    for key in table:
        if key not in CHECKS:
            named = key if len(key) <= 100 else f"{key[:100]}..."
            raise InputError(
                f"Unknown key {named!r} in {where}.", tip=f"Known keys: {', '.join(CHECKS)}."
            )
    values = {key: _checked(key, value, where) for key, value in table.items()}
    return {key: Given(value, source) for key, value in _to_unit_range(values, where).items()}


def preprocess_toml(preprocess: Preprocess) -> str:
    """The preprocessing file that reads back as `preprocess`."""
    raw = preprocess.dtype == "uint8"
    lines = [f"size = [{preprocess.size[0]}, {preprocess.size[1]}]"]
    if not raw:
        lines += [f"mean = {list(preprocess.mean)}", f"std = {list(preprocess.std)}"]
    boxed = ("place", "pad") if preprocess.fit == "letterbox" else ()
    of_letterbox = ("fit", "place")
    chosen = [k for k in CHOICES if k not in READINGS and (k not in of_letterbox or boxed)]
    lines += [f'{key} = "{getattr(preprocess, key)}"' for key in chosen]
    if boxed:
        lines.append(f"pad = {preprocess.pad}")
    if preprocess.resize is not None:
        sides = preprocess.resize
        lines.append(f"resize = {sides if isinstance(sides, int) else list(sides)}")
    if preprocess.image_range is not None:
        lines.append(f"image_range = {list(preprocess.image_range)}")
    if preprocess.crop_margin:
        lines.append(f"crop_margin = {preprocess.crop_margin}")
        lines.append(f"crop_votes = {preprocess.crop_votes}")
    lines += [
        f"{key} = {_quoted(value)}"
        for key, value in preprocess.reading.items()
        if key != "detector"
    ]
    table = preprocess.reading.get("detector", {})
    boxes = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join([*lines, *(["", "[detector]", *boxes] if boxes else [])]) + "\n"


_OF_A_FILE = ("dtype", "layout", "output", "output_layout", "crop_margin", "crop_votes")


def lendable(model: Path | None, hints: Hints) -> dict[str, Given]:
    """What a model's file says that holds for another one of the same images, as `lent` takes it.

    Types, layouts and names of tensors are a file's own, and so is a choice of crops: what is lent
    is the size of a crop.
    """
    stated = dict(_stated(PreprocessOverrides(), model, hints))
    if {"size", "crop_margin"} <= stated.keys():
        margin, (height, width) = stated["crop_margin"].value, stated["size"].value
        crop = (height - margin, width - margin)
        stated["size"] = Given(crop, f"{stated['size'].source} less crop_margin")
    return {key: given for key, given in stated.items() if key not in _OF_A_FILE}


def _quoted(value: object) -> str:
    """As TOML has a text or a number; JSON alone leaves DEL in it."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def resolve_preprocess(
    overrides: PreprocessOverrides,
    *,
    model: Path | None,
    name: str,
    hints: Hints,
    normalisation: bool = True,
) -> Preprocess:
    """Each field from the first source that states it: flags, --preprocess, sidecar, model.

    Without `normalisation`, for work that reads no images, mean and std need not be stated.
    Raises InputError naming the fields that nothing states and the flags that would, or a
    field that contradicts what the model's input is.
    """
    given = _stated(overrides, model, hints)
    reading = {key: given.pop(key) for key in READINGS if key in given}
    _refuse_contradictions(given, hints.fixed, name)
    given = _with_defaults(given, hints.planes, name)
    if not normalisation:
        given = {**_no_normalisation(given, hints.planes), **given}
    if given["fit"].value == "letterbox" and given["resize"].value is not None:
        raise InputError(
            f"{given['fit'].source} letterboxes images, so resize ({given['resize'].source}) cannot"
            " apply.",
            tip="Leave resize out.",
        )
    _check_crops(given, _first_stated([_sidecar(model), hints.stated]), name)
    missing = [key for key in ("size", "mean", "std") if key not in given]
    if missing:
        raise _unresolved(missing, name, given["channels"], hints.planes)
    _check_channel_count(given, hints.planes, name)
    return Preprocess(
        **{key: item.value for key, item in given.items()},
        source={key: item.source for key, item in (given | reading).items()},
        reading={key: item.value for key, item in reading.items()},
    )


def _stated(overrides: PreprocessOverrides, model: Path | None, hints: Hints) -> dict[str, Given]:
    layers = [_from_flags(overrides), _from_file(overrides), _sidecar(model), hints.stated]
    return _first_stated([*layers, hints.fixed, overrides.lent])


def _count(channels: str, planes: int | None) -> int | None:
    """How many values of mean `channels` take; None where nothing says."""
    return planes if channels == MULTI else 1 if channels == "gray" else 3


def _no_normalisation(given: PreprocessFields, planes: int | None) -> dict[str, Given]:
    channels = _count(given["channels"].value, planes) or FEWEST
    values = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    return {key: Given(value, "not needed") for key, value in values.items()}


def _first_stated(layers: Iterable[PreprocessFields]) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    for layer in layers:
        merged = {**layer, **merged}
    return merged


def _from_flags(overrides: PreprocessOverrides) -> PreprocessFields:
    stated = {key: getattr(overrides, key) for key in _FLAGS}
    return {
        key: Given(_checked(key, list(value), _flag(key)), f"flag {_flag(key)}")
        for key, value in stated.items()
        if value is not None
    }


def _flag(key: str) -> str:
    return _FLAGS[key].partition(" ")[0]


def _from_file(overrides: PreprocessOverrides) -> PreprocessFields:
    if overrides.file is None:
        return {}
    return read_preprocess_file(overrides.file, origin="--preprocess")


def _sidecar(model: Path | None) -> PreprocessFields:
    if model is None:
        return {}
    names = (model.name + ".toml", model.stem + ".preprocess.toml")
    for sidecar in (model.with_name(name) for name in names):
        if sidecar.is_file():
            return read_preprocess_file(sidecar, origin="sidecar")
    return {}


def _refuse_contradictions(given: PreprocessFields, fixed: PreprocessFields, name: str) -> None:
    for key, fact in fixed.items():
        if given[key].value != fact.value:
            raise InputError(
                f"{given[key].source} says {key} {shown(given[key].value)}, but the input of "
                f"{name} has {key} {shown(fact.value)} ({fact.source}).",
                tip=f"Leave {key} out, or export the model again.",
            )


def _with_defaults(given: dict[str, Given], planes: int | None, name: str) -> dict[str, Given]:
    filled = {**{key: Given(value, "default") for key, value in _DEFAULTS.items()}, **given}
    values = len(given["mean"].value) if "mean" in given else 3
    if "channels" not in given and values == 1:
        filled["channels"] = Given("gray", "one value in mean")
    elif "channels" not in given and values >= FEWEST:
        filled["channels"] = Given(MULTI, f"{values} values in mean")
    if filled["dtype"].value != "uint8":
        return filled
    for key in ("mean", "std"):
        if key in given:
            raise InputError(
                f"{name} takes raw uint8 pixels, so {key} ({given[key].source}) cannot apply.",
                tip=f"Leave {key} out.",
            )
    count = _count(filled["channels"].value, planes)
    if count is None:
        raise InputError(
            f"{name} takes raw uint8 pixels of an unknown number of channels.",
            tip="Export it again with a fixed number of input channels.",
        )
    raw = "raw uint8 pixels"
    return {**filled, "mean": Given((0.0,) * count, raw), "std": Given((1.0,) * count, raw)}


def _unresolved(
    missing: Sequence[str], name: str, channels: Given, planes: int | None
) -> InputError:
    words, grey = _FLAGS, channels.value == "gray"
    if planes is not None or grey:
        values = "V" if grey else f"V1,V2,...,V{planes}"
        words = _FLAGS | {key: f"--{key} {values}" for key in ("mean", "std")}
    flags = [words[key] for key in missing]
    one = channels.source == "default" and "mean" in missing
    either = " (one value each where images are grey)" if one else ""
    verb = "is" if len(missing) == 1 else "are"
    listed = " and ".join([", ".join(missing[:-1])] * (len(missing) > 1) + [missing[-1]])
    return InputError(
        f"The preprocessing of {name} is not known: {listed} {verb} missing.",
        tip=f"Add {' '.join(flags)}{either}, or --preprocess FILE.",
        flags=flags,
    )


def _check_channel_count(given: PreprocessFields, planes: int | None, name: str) -> None:
    channels = given["channels"].value
    count = _count(channels, planes) or max(len(given["mean"].value), FEWEST)
    for key in ("mean", "std"):
        if len(given[key].value) != count:
            raise InputError(
                f"{given[key].source} has {len(given[key].value)} values of {key}, but {name} "
                f"takes {channels if channels != MULTI else f'{count}-channel'} images, which need"
                f" {count}."
            )


def _check_crops(given: PreprocessFields, own: PreprocessFields, name: str) -> None:
    """A choice of crops is made for the window that is stated beside it, in the model's `own`."""
    margin, size = given["crop_margin"], given.get("size")
    if not margin.value or size is None:
        return
    if margin.value >= min(size.value):
        raise InputError(
            f"{margin.source} says crop_margin {margin.value}, which leaves nothing of the window"
            f" ({size.source})."
        )
    if "crop_margin" in own and "size" in own and own["size"].value != size.value:
        height, width = own["size"].value
        raise InputError(
            f"{name} chooses among crops of {height}x{width} px ({own['size'].source}), and"
            f" {size.source} says {size.value[0]}x{size.value[1]}.",
            tip="Leave the size out.",
        )


def _to_unit_range(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Mean and std stated for 0..pixel_range, restated for [0, 1]."""
    if "pixel_range" not in values:
        return values
    scale = values.pop("pixel_range")
    if scale != 1 and not {"mean", "std"} <= values.keys():
        raise InputError(
            f"pixel_range in {where} says what range mean and std are for, and needs both.",
            tip="mean = [0, 0, 0] and std = [1, 1, 1] feed the pixels as they are.",
        )
    scaled: dict[str, Any] = {
        key: tuple(v / scale for v in values[key]) for key in ("mean", "std") if key in values
    }
    return {**values, **scaled}


def _checked(key: str, value: Any, where: str) -> Any:
    expected, check = CHECKS[key]
    checked = check(value)
    if checked is None:
        raise InputError(f"{key} in {where} must be {expected}, not {shown(value)}.")
    return checked
