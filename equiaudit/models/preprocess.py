"""How images become the model's input: stated by flags, a sidecar or the model; never guessed.

A preprocessing file is TOML with these keys, all optional but for what nothing else states:

    size = [224, 224]             # H, W of the window the model sees, px
    mean = [0.485, 0.456, 0.406]  # RGB order whatever `channels` says; one value for gray
    std = [0.229, 0.224, 0.225]
    pixel_range = 1               # 255: mean and std are for pixels in 0..255
    channels = "rgb"              # "rgb" | "bgr" | "gray"
    dtype = "float32"             # "float32" | "float16" | "uint8" (raw pixels)
    layout = "NCHW"               # "NCHW" | "NHWC"
    resize = 256                  # shorter side before the centre crop, px; [H, W]: both sides
    interpolation = "bilinear"    # "nearest" | "bilinear" | "bicubic"
    fit = "crop"                  # "letterbox": the whole image scaled to fit, the rest padded
    place = "centre"              # "centre" | "top-left": where a letterboxed image stands
    pad = 114                     # grey beside it, 0..255
    image_range = [0, 4095]       # black and white of images with more than 8 bits a channel
    [detector]                    # how boxes are made of the outputs, see models.detectors

The model receives (pixel_range * x - mean) / std for x in [0, 1]. The same text can travel
inside a model: ONNX metadata and safetensors metadata under `PREPROCESS_KEY`, TorchScript and
`torch.export` archives as the extra file "preprocess.toml".
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equiaudit.errors import InputError
from equiaudit.models.types import Preprocess

PREPROCESS_KEY = "equiaudit.preprocess"
PREPROCESS_EXTRA_FILE = "preprocess.toml"

_CHOICES = {
    "channels": ("rgb", "bgr", "gray"),
    "dtype": ("float32", "float16", "uint8"),
    "layout": ("NCHW", "NHWC"),
    "interpolation": ("nearest", "bilinear", "bicubic"),
    "fit": ("crop", "letterbox"),
    "place": ("centre", "top-left"),
}
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
}
_LONGEST_SIDE = 1 << 16
_LARGEST_NUMBER = 1e30
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


@dataclass(frozen=True)
class Hints:
    """What the model itself says: metadata, and facts that cannot be overridden."""

    stated: PreprocessFields = field(default_factory=dict)
    fixed: PreprocessFields = field(default_factory=dict)


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
    for key in table:
        if key not in _CHECKS:
            raise InputError(
                f"Unknown key {key!r} in {where}.", tip=f"Known keys: {', '.join(_CHECKS)}."
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
    chosen = [key for key in _CHOICES if key not in ("fit", "place") or boxed]
    lines += [f'{key} = "{getattr(preprocess, key)}"' for key in chosen]
    if boxed:
        lines.append(f"pad = {preprocess.pad}")
    if preprocess.resize is not None:
        sides = preprocess.resize
        lines.append(f"resize = {sides if isinstance(sides, int) else list(sides)}")
    if preprocess.image_range is not None:
        lines.append(f"image_range = {list(preprocess.image_range)}")
    return "\n".join(lines) + "\n"


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
    given = dict(_stated(overrides, model, hints))
    given.pop("detector", None)
    _refuse_contradictions(given, hints.fixed, name)
    given = _with_defaults(given, name)
    if not normalisation:
        given = {**_no_normalisation(given), **given}
    if given["fit"].value == "letterbox" and given["resize"].value is not None:
        raise InputError(
            f"{given['fit'].source} letterboxes images, so resize ({given['resize'].source}) cannot"
            " apply.",
            tip="Leave resize out.",
        )
    missing = [key for key in ("size", "mean", "std") if key not in given]
    if missing:
        raise _unresolved(missing, name)
    _check_channel_count(given, name)
    return Preprocess(
        **{key: item.value for key, item in given.items()},
        source={key: item.source for key, item in given.items()},
    )


def detector_table(
    overrides: PreprocessOverrides, model: Path | None, hints: Hints
) -> Given | None:
    """The `[detector]` table of the first source that has one."""
    return _stated(overrides, model, hints).get("detector")


def _stated(overrides: PreprocessOverrides, model: Path | None, hints: Hints) -> PreprocessFields:
    layers = [_from_flags(overrides), _from_file(overrides), _sidecar(model), hints.stated]
    return _first_stated([*layers, hints.fixed])


def _no_normalisation(given: PreprocessFields) -> dict[str, Given]:
    channels = 1 if given["channels"].value == "gray" else 3
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
                f"{given[key].source} says {key} {_shown(given[key].value)}, but the input of "
                f"{name} has {key} {_shown(fact.value)} ({fact.source}).",
                tip=f"Leave {key} out, or export the model again.",
            )


def _with_defaults(given: dict[str, Given], name: str) -> dict[str, Given]:
    filled = {**{key: Given(value, "default") for key, value in _DEFAULTS.items()}, **given}
    if "channels" not in given and "mean" in given and len(given["mean"].value) == 1:
        filled["channels"] = Given("gray", "one value in mean")
    if filled["dtype"].value != "uint8":
        return filled
    for key in ("mean", "std"):
        if key in given:
            raise InputError(
                f"{name} takes raw uint8 pixels, so {key} ({given[key].source}) cannot apply.",
                tip=f"Leave {key} out.",
            )
    count = 1 if filled["channels"].value == "gray" else 3
    raw = "raw uint8 pixels"
    return {**filled, "mean": Given((0.0,) * count, raw), "std": Given((1.0,) * count, raw)}


def _unresolved(missing: Sequence[str], name: str) -> InputError:
    flags = " ".join(_FLAGS[key] for key in missing)
    verb = "is" if len(missing) == 1 else "are"
    listed = " and ".join([", ".join(missing[:-1])] * (len(missing) > 1) + [missing[-1]])
    return InputError(
        f"The preprocessing of {name} is not known: {listed} {verb} missing.",
        tip=f"Add {flags}, or --preprocess FILE.",
    )


def _check_channel_count(given: PreprocessFields, name: str) -> None:
    channels = given["channels"].value
    count = 1 if channels == "gray" else 3
    for key in ("mean", "std"):
        if len(given[key].value) != count:
            raise InputError(
                f"{given[key].source} has {len(given[key].value)} values of {key}, but {name} "
                f"takes {channels} images, which need {count}."
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
    expected, check = _CHECKS[key]
    checked = check(value)
    if checked is None:
        raise InputError(f"{key} in {where} must be {expected}, not {_shown(value)}.")
    return checked


def _shown(value: Any) -> str:
    listed = isinstance(value, list | tuple)
    try:
        text = "[" + ", ".join(map(str, value)) + "]" if listed else repr(value)
    except (ValueError, RecursionError):  # a whole number of 5,000 digits has no text
        return f"that {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."


def _size(value: Any) -> tuple[int, int] | None:
    sides = isinstance(value, list) and len(value) == 2 and all(_side(v) for v in value)
    return (value[0], value[1]) if sides else None


def _side(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value <= _LONGEST_SIDE else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) not in (1, 3):
        return None
    real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    # Neither nan nor a whole number of 400 digits, which no float holds.
    usable = real and all(abs(v) < _LARGEST_NUMBER for v in value)
    return tuple(map(float, value)) if usable else None


def _deviations(value: Any) -> tuple[float, ...] | None:
    numbers = _numbers(value)
    return numbers if numbers and min(numbers) > 0 else None


def _bounds(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    real = all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    usable = real and all(abs(v) < _LARGEST_NUMBER for v in value) and value[0] < value[1]
    return (float(value[0]), float(value[1])) if usable else None


def _one_of(choices: tuple[str, ...]) -> tuple[str, Callable[[Any], Any]]:
    return " or ".join(f'"{c}"' for c in choices), lambda v: v if v in choices else None


_CHECKS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "size": ("two positive whole numbers [H, W]", _size),
    "mean": ("3 numbers, or 1 for gray", _numbers),
    "std": ("3 positive numbers, or 1 for gray", _deviations),
    "image_range": ("two numbers [black, white], the second larger", _bounds),
    "pixel_range": ("1 or 255", lambda v: v if v in (1, 255) and v is not True else None),
    "resize": ("a positive whole number, or two [H, W]", lambda v: _side(v) or _size(v)),
    "pad": ("a whole number in 0..255", lambda v: v if type(v) is int and 0 <= v <= 255 else None),
    "detector": ("a table", lambda v: v if isinstance(v, dict) else None),
    **{key: _one_of(choices) for key, choices in _CHOICES.items()},
}
