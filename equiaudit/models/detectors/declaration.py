"""What is declared of a detector's outputs: a `[detector]` table of TOML, or a preset by name.

[detector]
preset = "yolov8"         # any of the keys below may follow, and wins
format = "rows"           # see FORMATS
output = "output0"        # the tensor with all of it; the first where it is not named
boxes = "boxes"           # where boxes, scores, labels and their number are apart: the
scores = "scores"         #   names of the tensors, or their places as "0", "1"
labels = "labels"
count = "num_dets"
masks = "masks"           # masks beside the boxes; with rows prototypes (N, M, h, w), of which the
                          #   last M numbers of a row say how much
keypoints = "keypoints"   # (N, K, P, 2 or more) beside the boxes
points = 17               # key points behind the scores of a row, x, y and visibility each
box = "xyxy"              # "xyxy" | "cxcywh" | "xywh", whose x, y are of the top left corner
units = "px"              # "px" of the window | "share" of its width and height
strides = [8, 16, 32]     # of grids, where boxes are relative to cells or anchors
anchors = [[[16, 16], [32, 32]], ...]   # width and height, px: of every stride, in their order
variances = [0.1, 0.1, 0.2, 0.2]        # of x, y, width and height relative to anchors
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

Format = Literal[
    "dicts", "boxes", "end2end", "rows", "columns", "objectness", "grid", "anchors", "decoder"
]

_IN_ROWS = ("rows", "columns", "objectness", "grid")

FORMATS: Mapping[Format, str] = {
    "dicts": "a list with a dict of boxes, scores and labels per image, as torchvision's",
    "boxes": "boxes (N, K, 4) with scores (N, K) and labels (N, K), or scores (N, K, C)",
    "end2end": "rows (N, K, 6) of x1, y1, x2, y2, score, label",
    "rows": "rows (N, A, 4 + C) of a box and a score per class",
    "columns": "columns (N, 4 + C, A) of a box and a score per class",
    "objectness": "rows (N, A, 5 + C) of a box, objectness and a score per class",
    "grid": "rows (N, A, 5 + C) of a box, objectness and a score per class, each box relative to"
    " its cell: (x + cell) * stride and exp(w) * stride",
    "anchors": "boxes (N, A, 4) relative to anchors, with scores (N, A, C)",
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
    masks: str = ""
    keypoints: str = ""
    points: int = 0
    box: Literal["xyxy", "cxcywh", "xywh"] = "xyxy"
    units: Literal["px", "share"] = "px"
    strides: tuple[int, ...] = ()
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
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
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}
        if not self.anchors:
            del found["variances"]
        return {
            n: json.loads(json.dumps(v))
            for n, v in found.items()
            if v not in ("", ()) and (n, v) != ("points", 0)
        }

    @property
    def toml(self) -> str:
        """As the table of a preprocessing file."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.plain.items()]
        return "\n".join(["[detector]", *lines]) + "\n"

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


def _ssd300() -> tuple[tuple[tuple[float, float], ...], ...]:
    """Of SSD300 with the scales of torchvision's ssd300_vgg16: two squares, then a box and its
    turned twin for every ratio."""
    side, scales = 300.0, (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    ratios = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    made = []
    for scale, larger, own in zip(scales, scales[1:], ratios, strict=False):
        between = (scale * larger) ** 0.5
        sizes = [(scale, scale), (between, between)]
        for ratio in own:
            wide, high = scale * ratio**0.5, scale / ratio**0.5
            sizes += [(wide, high), (high, wide)]
        made.append(tuple((side * min(w, 1.0), side * min(h, 1.0)) for w, h in sizes))
    return tuple(made)


_YOLO: dict[str, Any] = {"box": "cxcywh", "nms_iou": 0.45}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "torchvision": {"format": "dicts"},
    "yolov5": {"format": "objectness", **_YOLO},
    "yolov7": {"format": "objectness", **_YOLO},
    "yolov8": {"format": "columns", **_YOLO},
    "yolo11": {"format": "columns", **_YOLO},
    "yolov8-pose": {"format": "columns", "points": 17, **_YOLO},
    "yolov8-seg": {"format": "columns", "masks": "output1", **_YOLO},
    "yolov10": {"format": "end2end"},
    "yolox": {"format": "grid", "strides": (8, 16, 32), **_YOLO},
    "ssd300": {
        "format": "anchors",
        "strides": (8, 16, 32, 64, 100, 300),
        "anchors": _ssd300(),
        "activation": "softmax",
        "background": "first",
        "nms_iou": 0.45,
    },
    "retinaface": {
        "format": "anchors",
        "strides": (8, 16, 32),
        "anchors": tuple(tuple((4.0 * s, 4.0 * s) for s in (n, 2 * n)) for n in (4, 16, 64)),
        "background": "first",
        "nms_iou": 0.4,
    },
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
    for key in ("strides", "variances"):
        if key in given:
            given[key] = tuple(given[key])
    if "anchors" in given:
        given["anchors"] = tuple(tuple(map(tuple, own)) for own in given["anchors"])
    values: dict[str, Any] = {**PRESETS.get(preset or "", {}), **given}
    if values.get("decoder"):
        values["format"] = "decoder"
    if values.get("format") in ("anchors", "grid"):
        values = {"box": "cxcywh", **values}
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
    if made.format == "grid" and (made.box, made.units) != ("cxcywh", "px"):
        raise InputError(
            f"The detector in {where} has boxes relative to cells, which are cxcywh in px:"
            f" box {made.box} and units {made.units} do not apply.",
            tip="Leave box and units out.",
        )
    if made.format == "anchors":
        if not made.anchors or len(made.anchors) != len(made.strides):
            raise InputError(
                f"The detector in {where} has boxes relative to anchors,"
                f" {len(made.strides)} strides and anchors of {len(made.anchors)}.",
                tip="anchors = [[[16, 16], [32, 32]], ...]: a list of [width, height], px, for"
                " every stride.",
            )
        if made.box != "cxcywh" or made.units != "px":
            raise InputError(
                f"The detector in {where} has boxes relative to anchors, which are cxcywh in px:"
                f" box {made.box} and units {made.units} do not apply.",
                tip="Leave box and units out.",
            )
    elif made.anchors:
        raise InputError(
            f'The detector in {where} has anchors, and its format is "{made.format}".',
            tip='format = "anchors" reads boxes relative to them.',
        )
    _check_inside(made, where)
    if made.format == "decoder" and not made.decoder:
        raise InputError(f"The detector in {where} names no decoder.", tip="decoder = 'pkg:name'.")


def _check_inside(made: Declaration, where: str) -> None:
    """Masks and key points where the format has a place for them."""
    rows, boxes = made.format in _IN_ROWS, made.format == "boxes"
    for key, fits in (("points", rows), ("keypoints", boxes), ("masks", rows or boxes)):
        if getattr(made, key) and not fits:
            raise InputError(
                f'The detector in {where} has {key}, and its format is "{made.format}".',
                tip="points are behind the scores of rows and columns, keypoints beside boxes, and"
                " masks go with both.",
            )


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


def _is_anchors(value: Any) -> bool:
    def size(pair: Any) -> bool:
        whole = isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))
        return whole and min(pair) > 0

    levels = isinstance(value, list) and 0 < len(value) <= 16
    return levels and all(isinstance(own, list) and own and all(map(size, own)) for own in value)


def _is_strides(value: Any) -> bool:
    whole = isinstance(value, list) and all(isinstance(v, int) and 0 < v <= 1024 for v in value)
    return whole and 0 < len(value) <= 16


_TEXT: tuple[str, Callable[[Any], bool]] = (
    "the name of an output",
    lambda value: isinstance(value, str),
)
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": _one_of(get_args(Format)),
    **dict.fromkeys(("output", "boxes", "scores", "labels", "count", "masks", "keypoints"), _TEXT),
    **{key: _one_of(_choices(key)) for key in ("box", "units", "activation", "background")},
    "points": (
        "a whole number",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    ),
    "strides": ("a list of whole numbers", _is_strides),
    "anchors": ("a list of [width, height] above 0 for every stride", _is_anchors),
    "variances": (
        "four numbers",
        lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
    ),
    "score_threshold": ("a number", _is_number),
    "nms_iou": ("a number in 0..1", lambda value: _is_number(value) and 0 <= value <= 1),
    "decoder": (
        "package.module:function",
        lambda value: isinstance(value, str) and len(value.split(":")) == 2,
    ),
}
