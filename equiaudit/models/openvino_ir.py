"""OpenVINO's own files: NAME.xml, the graph, beside NAME.bin, the weights.

The graph is read here as text, without OpenVINO: inputs, their shapes and types, and what the
metadata of an ONNX file became (`rt_info/framework`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from equiaudit.errors import InputError
from equiaudit.models.onnx_ports import ImageInput, chosen_image, fixed_fields
from equiaudit.models.preprocess import (
    PREPROCESS_KEY,
    Hints,
    PreprocessFields,
    parse_preprocess,
)
from equiaudit.models.runtime_files import RuntimeFile

_DTYPES = {"f32": "float32", "f64": "float32", "f16": "float16", "u8": "uint8"}
_LARGEST = 1 << 28
"""Bytes of a graph without its weights."""


def open_ir(path: Path, inputs: Mapping[str, str] | None = None) -> RuntimeFile:
    """The graph at `path`; InputError where it is damaged, has no weights, or no image input."""
    root = _parsed(path)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(
            f"{path} is an OpenVINO model whose weights {weights.name} are not beside it.",
            tip="Keep both files in one folder, under one name.",
        )
    found = [
        _input(layer, path) for layer in root.iter("layer") if layer.get("type") == "Parameter"
    ]
    image = chosen_image(found, path, inputs or {})
    stated = _stated(root, path)
    fixed, planes = fixed_fields(image, stated, str(path), "OpenVINO")
    hints = Hints(stated=stated, fixed=fixed, planes=planes)
    return RuntimeFile(path, "openvino", image, hints, (weights,), inputs or {})


def _parsed(path: Path) -> ElementTree.Element:
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} is too large for the graph of an OpenVINO model.")
    text = path.read_bytes()
    # Entities may stand for a book's length, or for another file; OpenVINO writes none.
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise InputError(f"{path} defines entities of XML, which no OpenVINO model does.")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"{path} is a damaged OpenVINO model.", tip="Copy or download it again."
        ) from error


def _input(layer: ElementTree.Element, path: Path) -> ImageInput:
    """An input: the name of its tensor, else of its layer."""
    data, port = layer.find("data"), layer.find("output/port")
    if data is None:
        raise InputError(f"{path} is a damaged OpenVINO model.", tip="Copy or download it again.")
    names: Sequence[str] = (port.get("names") or "").split(",") if port is not None else ()
    named = sorted((name for name in names if name), key=lambda name: (len(name), name))
    sides = [part.strip() for part in (data.get("shape") or "").split(",") if part.strip()]
    shape = tuple(int(side) if side.isdigit() else None for side in sides)
    kind = data.get("element_type") or "?"
    return ImageInput(
        named[0] if named else layer.get("name") or "", _DTYPES.get(kind, kind), shape
    )


def _stated(root: ElementTree.Element, path: Path) -> PreprocessFields:
    found = root.find(f"rt_info/framework/{PREPROCESS_KEY}")
    if found is None or not found.get("value"):
        return {}
    where = f"the metadata of {path}"
    return parse_preprocess(found.get("value") or "", where=where, source="OpenVINO metadata")
