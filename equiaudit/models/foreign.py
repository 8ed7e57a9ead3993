"""Files of other frameworks, and files that are no models, named by what they begin with.

One sentence says what the file is, and the tip what to give in its place. Formats without a mark of
their own (raw weights beside a graph) are told by the file they belong to.

Sources: the published descriptions of FlatBuffers identifiers (TFL3, ETnn), GGUF, HDF5, Git LFS
pointers, `Model.proto` of Core ML, `saved_model.proto` of TensorFlow, the parameter text of ncnn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from equiaudit.errors import InputError

_ONNX_TIP = "Give the ONNX file or the checkpoint it was made from."
_EXPORT_TIP = "Export the net to ONNX, and give that file."
_AGAIN = "Download the file itself again, and check its size."
_ENOUGH = 4096  # bytes to tell a format by

_COREML = "a Core ML model"
_OPENVINO = "an OpenVINO model"
_NCNN = "an ncnn model"
_PADDLE = "a Paddle model"
_TENSORFLOW = "a TensorFlow SavedModel"
_KERAS = "a Keras model"
_ENGINE = "a TensorRT engine, compiled for one kind of GPU"

_TIPS = {
    _COREML: _ONNX_TIP,
    _OPENVINO: "Give the .xml file, with the .bin of the same name beside it.",
    _NCNN: _ONNX_TIP,
    _PADDLE: "Export it with paddle2onnx, and give the ONNX file.",
    _TENSORFLOW: "Export it with tf2onnx, and give the ONNX file.",
    _KERAS: "Export it with model.export(FILE, format='onnx') or tf2onnx, and give that file.",
    _ENGINE: _ONNX_TIP,
}
_MARKS: tuple[tuple[int, re.Pattern[bytes], str, str], ...] = (
    (0, re.compile(rb"[fp]trt"), _ENGINE, _ONNX_TIP),
    (4, re.compile(rb"TFL3"), "a TensorFlow Lite model", "Export the net with tf2onnx instead."),
    (4, re.compile(rb"ET\d\d"), "an ExecuTorch program", _EXPORT_TIP),
    (4, re.compile(rb"FT\d\d"), "ExecuTorch data without a program", _EXPORT_TIP),
    (0, re.compile(rb"GGUF|ggjt|lmgg|tjgg"), "a GGUF file of quantised weights", _EXPORT_TIP),
    (0, re.compile(rb"\x89HDF\r\n\x1a\n"), "an HDF5 file, as Keras saves (.h5)", _TIPS[_KERAS]),
    (0, re.compile(rb"7767517\s|\xdd\x85\x76\x00"), _NCNN, _ONNX_TIP),
    (
        0,
        re.compile(rb"version https://git-lfs"),
        "a pointer of Git LFS, not the file it stands for",
        "Fetch the file itself: git lfs pull.",
    ),
    (
        0,
        re.compile(rb"\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE),
        "a page of HTML, as a failed download leaves",
        _AGAIN,
    ),
    (0, re.compile(rb"(?s)\s*<\?xml.*<Error>"), "the error message of a server (XML)", _AGAIN),
    (0, re.compile(rb'(?s)\s*\{\s*"base_code"\s*:\s*\{[^}]*"pir"'), _PADDLE, _TIPS[_PADDLE]),
    (0, re.compile(rb"\x93NUMPY"), "a NumPy array", "Give a model file."),
    (
        0,
        re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd"),
        "a compressed archive",
        "Unpack it, and give the model inside.",
    ),
)
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_BESIDE = ((".xml", b"<net", _OPENVINO), (".param", b"7767517", _NCNN))
_FOLDERS = (
    ("saved_model.pb", _TENSORFLOW),
    ("Manifest.json", _COREML),
    ("coremldata.bin", _COREML),
    ("*.xml", _OPENVINO),
    ("*.param", _NCNN),
    ("*.pdmodel", _PADDLE),
    ("*.pdiparams", _PADDLE),
    ("*.keras", _KERAS),
)
# Top-level fields of Core ML's Model that hold a model; ONNX has none above 26.
_COREML_MODELS = range(200, 4000)
_ONNX_GRAPH = 7
_MOST_FIELDS = 64


def foreign_file(path: Path) -> InputError | None:
    """The refusal of a file that another framework wrote, or that is no model; None for others."""
    with path.open("rb") as file:
        head = file.read(_ENOUGH)
        for at, mark, what, tip in _MARKS:
            if mark.match(head, at):
                return InputError(f"{path} is {what}.", tip=tip)
        found = _pickled(path, head) or _protobuf(file, head) or _engine_of_ultralytics(head)
    return None if found is None else _refused(path, found)


def foreign_zip(names: Iterable[str]) -> str | None:
    """What a zip archive is that torch did not write, in words, by its members."""
    members = set(names)
    if {"config.json", "metadata.json"} <= members and any(n.endswith(".h5") for n in members):
        return _KERAS
    inner = {name.partition("/")[2] for name in members}
    if any(name.startswith("data/aotinductor/") for name in inner):
        return "a package of AOTInductor, compiled for one kind of machine"
    if members and all(name.endswith(".npy") for name in members):
        return "a NumPy archive of arrays"
    if any(name.endswith("Manifest.json") for name in members):
        return "a zipped Core ML package"
    if any(name.endswith((".pt", ".pth", ".onnx", ".safetensors", ".ckpt")) for name in members):
        return "a zip archive with a model inside"
    return None


def foreign_folder(path: Path) -> InputError | None:
    """The refusal of a folder that another framework wrote; None for others."""
    found = next((what for name, what in _FOLDERS if any(path.glob(name))), None)
    return None if found is None else _refused(path, found)


def _refused(path: Path, what: str) -> InputError:
    return InputError(f"{path} is {what}.", tip=_TIPS.get(what, _EXPORT_TIP))


def _pickled(path: Path, head: bytes) -> str | None:
    """A pickle that torch did not write; torch reads none of these, with or without --trust."""
    compressed = path.suffix == ".joblib" and head[:1] == b"\x78"
    is_pickle = len(head) > 2 and head[0] == 0x80 and head[1] in range(2, 6)
    of_torch = head.startswith(_TORCH_LEGACY) or _TORCH_LEGACY.startswith(head)
    if not compressed and (not is_pickle or of_torch):
        return None
    if path.suffix in (".pdparams", ".pdopt") or b"StructuredToParameterName@@" in head:
        return "a file of Paddle's weights"
    writer = "joblib" if compressed or b"joblib" in head or b"sklearn" in head else "pickle"
    return f"an object saved with {writer}, not written by torch, and was not unpickled"


def _protobuf(file: IO[bytes], head: bytes) -> str | None:
    """Core ML and SavedModel begin as ONNX files do; their fields differ."""
    if head[:1] == b"\x0a":
        if b"Placeholder" in head:
            return "a frozen graph of TensorFlow"
        return _PADDLE if b"feed" in head and b"fetch" in head else None
    if head[:1] != b"\x08":
        return None
    fields = _top_fields(file)
    if _ONNX_GRAPH in fields:
        return None
    if any(field in _COREML_MODELS for field in fields):
        return _COREML
    return _TENSORFLOW if fields == {1, 2} and b"serve" in head else None


def _top_fields(file: IO[bytes]) -> set[int]:
    """The numbers of the fields a protobuf message begins with, their contents skipped."""
    file.seek(0)
    found: set[int] = set()
    for _ in range(_MOST_FIELDS):
        tag = _varint(file)
        if not tag:
            break
        found.add(tag >> 3)
        if tag & 7 == 2:
            file.seek(min(_varint(file), 1 << 40), 1)
        elif tag & 7 == 0:
            _varint(file)
        else:
            break
    return found


def _varint(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return 0
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return 0


def _engine_of_ultralytics(head: bytes) -> str | None:
    """Ultralytics puts the length of a JSON text and that text before the engine."""
    length = int.from_bytes(head[:4], "little")
    stated = head[4:5] == b"{" and 0 < length < 1 << 16 and head[5:6] in (b'"', b"\n", b" ")
    return _ENGINE if stated and head[4 + length :][1:4] in (b"trt", b"") else None


def foreign_weights(path: Path) -> InputError | None:
    """The refusal of raw weights, by the graph of the same name beside them; None for others."""
    what = _beside(path)
    if what is None:
        return None
    of_openvino = what.endswith(_OPENVINO)
    tip = f"Give {path.with_suffix('.xml').name} beside it." if of_openvino else _ONNX_TIP
    return InputError(f"{path} holds {what}.", tip=tip)


def _beside(path: Path) -> str | None:
    if path.suffix == ".pdiparams":
        return f"the weights of {_PADDLE}"
    for suffix, mark, what in _BESIDE if path.suffix == ".bin" else ():
        try:
            with path.with_suffix(suffix).open("rb") as graph:
                if mark in graph.read(_ENOUGH):
                    return f"the weights of {what}"
        except OSError:
            continue
    return None
