"""What is declared of a detector's outputs: a `[detector]` table of TOML, or a preset by name.

[detector]
preset = "yolov8"         # any of the keys below may follow, and wins
format = "rows"           # see FORMATS
output = "output0"        # the tensor with all of it; the first where it is not named
boxes = "boxes"           # where boxes, scores, labels and their number are apart: the
scores = "scores"         #   names of the tensors, or their places as "0", "1"
labels = "labels"
count = "num_dets"
box = "xyxy"              # "xyxy" | "cxcywh" | "xywh", whose x, y are of the top left corner
units = "px"              # "px" of the window | "share" of its width and height
strides = [8, 16, 32]     # of grids, where boxes are relative to cells
activation = "none"       # of scores: "none" | "sigmoid" | "softmax"
background = "none"       # the class that is none: "none" | "first" | "last"
score_threshold = 0.3     # boxes below it are none
nms_iou = 0.45            # class by class; 0 for none
decoder = "package.module:function"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from equiaudit.errors import InputError

Format = Literal["dicts", "boxes", "end2end", "rows", "columns", "objectness", "grid", "decoder"]

FORMATS: Mapping[Format, str] = {
    "dicts": "a list with a dict of boxes, scores and labels per image, as torchvision's",
    "boxes": "boxes (N, K, 4) with scores (N, K) and labels (N, K), or scores (N, K, C)",
    "end2end": "rows (N, K, 6) of x1, y1, x2, y2, score, label",
    "rows": "rows (N, A, 4 + C) of a box and a score per class",
    "columns": "columns (N, 4 + C, A) of a box and a score per class",
    "objectness": "rows (N, A, 5 + C) of a box, objectness and a score per class",
    "grid": "rows (N, A, 5 + C) of a box, objectness and a score per class, each box relative to"
    " its cell: (x + cell) * stride and exp(w) * stride",
    "decoder": "whatever a function makes boxes of",
}


@dataclass(frozen=True)
class Declaration:
    """How boxes are made of what a detector returns; the fields are the keys of the table."""

    format: Format
    output: str = ""
    boxes: str = ""
    scores: str = ""
    labels: str = ""
    count: str = ""
    box: Literal["xyxy", "cxcywh", "xywh"] = "xyxy"
    units: Literal["px", "share"] = "px"
    strides: tuple[int, ...] = ()
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    background: Literal["none", "first", "last"] = "none"
    score_threshold: float = 0.3
    nms_iou: float = 0.0
    decoder: str = ""
    source: str = ""
    """What said so: "--detector yolox", "the [detector] table of net.onnx.toml"."""

    @property
    def plain(self) -> dict[str, Any]:
        """All of it but the source, as JSON has it."""
        return {
            f.name: list(value) if isinstance(value, tuple) else value
            for f in fields(self)
            if f.name != "source" and (value := getattr(self, f.name)) != ""
        }

    @property
    def said(self) -> str:
        """All that is no default, in words."""
        plain = Declaration(self.format)
        always = {"score_threshold", "nms_iou"}
        parts = [
            f"{f.name} {_shown(getattr(self, f.name))}"
            for f in fields(self)
            if f.name not in ("format", "source")
            and (f.name in always or getattr(self, f.name) != getattr(plain, f.name))
        ]
        return f"{FORMATS[self.format]}; {', '.join(parts)}"


_YOLO: dict[str, Any] = {"box": "cxcywh", "nms_iou": 0.45}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "torchvision": {"format": "dicts"},
    "yolov5": {"format": "objectness", **_YOLO},
    "yolov7": {"format": "objectness", **_YOLO},
    "yolov8": {"format": "columns", **_YOLO},
    "yolo11": {"format": "columns", **_YOLO},
    "yolov10": {"format": "end2end"},
    "yolox": {"format": "grid", "strides": (8, 16, 32), **_YOLO},
    "detr": {
        "format": "boxes",
        "boxes": "pred_boxes",
        "scores": "logits",
        "box": "cxcywh",
        "units": "share",
        "activation": "softmax",
        "background": "last",
    },
    "rtdetr": {
        "format": "boxes",
        "boxes": "pred_boxes",
        "scores": "logits",
        "box": "cxcywh",
        "units": "share",
        "activation": "sigmoid",
    },
}
"""Usual families, as their own exporters write them."""


def parse_detector(table: Any, *, where: str, source: str) -> Declaration:
    """A `[detector]` table; InputError that names the key that is wrong or lacking."""
    if not isinstance(table, Mapping):
        raise InputError(f"detector in {where} must be a table, not {table!r}.")
    given = dict(table)
    preset = given.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise InputError(
            f"{where} has no preset {preset!r} to take.", tip=f"Presets: {', '.join(PRESETS)}."
        )
    for key, value in given.items():
        if key not in _CHECKS:
            raise InputError(
                f"Unknown key {key!r} of the detector in {where}.",
                tip=f"Known keys: preset, {', '.join(_CHECKS)}.",
            )
        expected, fits = _CHECKS[key]
        if not fits(value):
            raise InputError(f"{key} of the detector in {where} must be {expected}, not {value!r}.")
    if "strides" in given:
        given["strides"] = tuple(given["strides"])
    values: dict[str, Any] = {**PRESETS.get(preset or "", {}), **given}
    if values.get("decoder"):
        values["format"] = "decoder"
    if "format" not in values:
        raise InputError(
            f"The detector in {where} has neither a preset nor a format.",
            tip=f"Presets: {', '.join(PRESETS)}; formats: {', '.join(FORMATS)}.",
        )
    made = Declaration(**values, source=source)
    _check_whole(made, where)
    return made


def _check_whole(made: Declaration, where: str) -> None:
    if made.format == "grid" and not made.strides:
        raise InputError(
            f"The detector in {where} has boxes relative to cells and no strides.",
            tip="strides = [8, 16, 32] are those of most.",
        )
    if made.format == "decoder" and not made.decoder:
        raise InputError(f"The detector in {where} names no decoder.", tip="decoder = 'pkg:name'.")


def parse_flag(text: str) -> Declaration:
    """What `--detector` says: PRESET, or pkg.module:function, with key=value behind commas."""
    name, *pairs = (part.strip() for part in text.split(","))
    table: dict[str, Any] = {"decoder" if ":" in name else "preset": name}
    if "=" in name:
        table, pairs = {}, [name, *pairs]
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--detector has {pair!r}, and key=value is wanted.")
        named = _CHECKS.get(key.strip(), _TEXT) is _TEXT
        table[key.strip()] = value.strip() if named else _value(value.strip())
    return parse_detector(table, where="--detector", source=f"--detector {text}")


def _value(text: str) -> Any:
    """A number or a list of such ("8/16/32"), else the text."""
    if text and all(part.isdigit() for part in text.split("/")) and "/" in text:
        return [int(part) for part in text.split("/")]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, tuple) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_of(choices: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    return " or ".join(f'"{c}"' for c in choices), lambda value: value in choices


def _choices(name: str) -> tuple[str, ...]:
    return {
        "box": ("xyxy", "cxcywh", "xywh"),
        "units": ("px", "share"),
        "activation": ("none", "sigmoid", "softmax"),
        "background": ("none", "first", "last"),
    }[name]


def _is_strides(value: Any) -> bool:
    whole = isinstance(value, list) and all(isinstance(v, int) and 0 < v <= 1024 for v in value)
    return whole and 0 < len(value) <= 16


_TEXT: tuple[str, Callable[[Any], bool]] = (
    "the name of an output",
    lambda value: isinstance(value, str),
)
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": _one_of(get_args(Format)),
    **dict.fromkeys(("output", "boxes", "scores", "labels", "count"), _TEXT),
    **{key: _one_of(_choices(key)) for key in ("box", "units", "activation", "background")},
    "strides": ("a list of whole numbers", _is_strides),
    "score_threshold": ("a number", _is_number),
    "nms_iou": ("a number in 0..1", lambda value: _is_number(value) and 0 <= value <= 1),
    "decoder": (
        "package.module:function",
        lambda value: isinstance(value, str) and len(value.split(":")) == 2,
    ),
}
