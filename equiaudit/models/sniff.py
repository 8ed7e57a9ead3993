"""What kind of model a file is, told from its bytes and never from its suffix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from equiaudit.errors import InputError
from equiaudit.models.foreign import foreign_file, foreign_weights, foreign_zip
from equiaudit.models.zips import is_zip, zip_names

FileKind = Literal["torchscript", "export", "checkpoint", "safetensors", "onnx", "openvino"]

_PICKLE_PROTOCOLS = range(2, 6)
_IR_VERSION_FIELD = 0x08
# The fields that may follow ir_version in a ModelProto, as protobuf tags.
_ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA)
_ENOUGH = 1024  # bytes to tell a format by; a comment may stand before a graph
_FOREIGN_TIP = "Unpack it, or give the ONNX file or checkpoint it was made from."
_KINDS = "TorchScript, torch.export (.pt2), ONNX, OpenVINO, safetensors or a PyTorch checkpoint"
_OPENVINO = re.compile(rb"(?s)\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<net\b")


def sniff(path: Path) -> FileKind:
    """The kind of the model in the file at `path`.

    Raises InputError where there is no such file, it cannot be read, is damaged, or is not
    a model that is read here; files of other frameworks are named.
    """
    head = _head(path)
    if is_zip(head):
        return _zip_kind(path)
    if _OPENVINO.match(head):
        return "openvino"
    foreign = foreign_file(path)
    if foreign is not None:
        raise foreign
    if len(head) > 8 and head[8:9] == b"{" and head[6:8] == b"\x00\x00":
        return "safetensors"
    if len(head) > 2 and head[0] == 0x80 and head[1] in _PICKLE_PROTOCOLS:
        return "checkpoint"
    if len(head) > 2 and _is_onnx(head):
        return "onnx"
    raise foreign_weights(path) or _not_a_model(path)


def _head(path: Path) -> bytes:
    try:
        if path.is_fifo():
            raise InputError(f"{path} is a pipe, not a model file.")
        with path.open("rb") as file:
            return file.read(_ENOUGH)
    except FileNotFoundError as error:
        raise InputError(f"No such file: {path}.") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a model file.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"Cannot read {path}: {reason}.") from error


def _is_onnx(head: bytes) -> bool:
    return head[0] == _IR_VERSION_FIELD and 0 < head[1] < 0x80 and head[2] in _ONNX_FIELDS


def _zip_kind(path: Path) -> FileKind:
    names = _zip_names(path)
    members = {name.partition("/")[2] for name in names}
    if any(name.startswith("models/") and name.endswith(".json") for name in members):
        return "export"
    if "constants.pkl" in members and any(name.startswith("code/") for name in members):
        return "torchscript"
    if "data.pkl" in members:
        return "checkpoint"
    what = foreign_zip(names)
    if what is not None:
        raise InputError(f"{path} is {what}.", tip=_FOREIGN_TIP)
    raise _not_a_model(path)


def _zip_names(path: Path) -> list[str]:
    with path.open("rb") as file:
        names = zip_names(file, what=str(path))
    if "serialized_exported_program.json" in names:
        raise InputError(
            f"{path} was written by torch.export of torch 2.7 or older, which is not read.",
            tip="Export the model again.",
        )
    return names


def _not_a_model(path: Path) -> InputError:
    return InputError(f"{path} is not a model file.", tip=f"What can be read: {_KINDS}.")
