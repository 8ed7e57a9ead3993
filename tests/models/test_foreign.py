"""Files of other frameworks are named in one sentence, with the way out."""

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import tiny_net

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.sniff import sniff


def varint(value: int) -> bytes:
    digits = b""
    while value > 0x7F:
        digits += bytes([value & 0x7F | 0x80])
        value >>= 7
    return digits + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


DESCRIPTION = field(1, field(1, b"input") + field(3, b"x" * 300))
ENGINE = json.dumps({"description": "net", "imgsz": [640, 640]}).encode()
FILES = {
    "TensorRT engine": b"ftrt" + bytes(60),
    "TensorRT engine ": struct.pack("<i", len(ENGINE)) + ENGINE + b"ftrt" + bytes(60),
    "TensorFlow Lite": struct.pack("<I", 28) + b"TFL3" + bytes(60),
    "ExecuTorch program": struct.pack("<I", 48) + b"ET12" + b"eh00" + bytes(60),
    "Core ML": field(1, 4) + field(2, DESCRIPTION) + field(10, 0) + field(500, b"y" * 90),
    "Core ML ": field(1, 7) + field(2, DESCRIPTION) + field(502, b"y" * 9000),
    "GGUF": b"GGUF" + struct.pack("<IQQ", 3, 2, 5),
    "OpenVINO": b'<?xml version="1.0"?>\n<net name="net" version="11">\n<layers>' + bytes(60),
    "ncnn": b"7767517\n75 83\nInput  data 0 1 data 0=224 1=224 2=3\n",
    "HDF5.*Keras": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "Keras model": zipped(config_dot_json=b"{}", metadata_dot_json=b"{}",
                          model_dot_weights_dot_h5=b"x"),
    "AOTInductor": zipped(net__data__aotinductor__model__a_dot_so=b"x", net__version=b"1"),
    "zip archive with a model inside": zipped(run__best_dot_pt=b"x"),
    "NumPy archive": zipped(weight_dot_npy=array()),
    "NumPy array": array(),
    "SavedModel": field(1, 1) + field(2, field(1, field(4, b"serve")) + b"z" * 200),
    "frozen graph": field(1, field(1, b"input") + field(2, b"Placeholder")) + bytes(60),
    "Paddle model": field(1, field(4, field(3, b"feed")) + field(4, field(3, b"fetch"))),
    "Paddle model ": b'{"base_code":{"magic":"pir","version":1,"trainable":true},"program":{}}',
    "Paddle's weights": pickle.dumps({"w": 1, "StructuredToParameterName@@": {}}, protocol=2),
    "saved with joblib": pickle.dumps({"sklearn.svm": [1]}, protocol=4),
    "saved with pickle": pickle.dumps({"a": [1]}, protocol=5),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n",
    "page of HTML": b"\n<!DOCTYPE html>\n<html lang='en'><head><title>404</title></head></html>",
    "page of HTML ": b"<html><body>Sign in</body></html>" + bytes(20),
    "error message of a server": b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code></Error>",
    "compressed archive": gzip.compress(bytes(200)),
}  # fmt: skip


@pytest.mark.parametrize("said", FILES)
def test_a_file_is_named_from_its_content(tmp_path, said):
    path = tmp_path / "model.pt"
    path.write_bytes(FILES[said])
    with pytest.raises(InputError, match=said.strip()) as caught:
        load(path)
    assert caught.value.tip
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_compressed_joblib(tmp_path):
    path = tmp_path / "model.joblib"
    path.write_bytes(zlib.compress(pickle.dumps([1])))
    with pytest.raises(InputError, match="saved with joblib"):
        load(path)


@pytest.mark.parametrize(
    ("graph", "content", "said"),
    [("net.xml", b'<?xml version="1.0"?><net name="a">', "OpenVINO"),
     ("net.param", b"7767517\n1 1\n", "ncnn")],
)  # fmt: skip
def test_raw_weights_are_named_by_the_graph_beside_them(tmp_path, graph, content, said):
    weights = tmp_path / "net.bin"
    weights.write_bytes(b"\x01\x02\x03" * 40)
    with pytest.raises(InputError, match="is not a model file"):
        load(weights)
    (tmp_path / graph).write_bytes(content)
    with pytest.raises(InputError, match=f"the weights of an? {said}"):
        load(weights)


def test_a_checkpoint_beside_such_a_graph_is_still_a_checkpoint(tmp_path):
    for zips in (True, False):
        path = tmp_path / "net.bin"
        torch.save(tiny_net().state_dict(), path, _use_new_zipfile_serialization=zips)
        (tmp_path / "net.xml").write_bytes(b'<?xml version="1.0"?><net name="a">')
        assert sniff(path) == "checkpoint"


FOLDERS = {
    "SavedModel": ("saved_model.pb", b""),
    "Core ML": ("Manifest.json", b'{"itemInfoEntries": {}}'),
    "OpenVINO": ("net.xml", b"<net>"),
    "ncnn": ("net.ncnn.param", b"7767517\n"),
    "Paddle": ("inference.pdmodel", b""),
}


@pytest.mark.parametrize("said", FOLDERS)
def test_a_folder_is_named(tmp_path, said):
    name, content = FOLDERS[said]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"is an? (TensorFlow )?{said}"):
        load(tmp_path)


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_optimizer_is_no_model(tmp_path, wrapped):
    net = tiny_net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 3, 16, 16)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    torch.save({"optimizer": state, "epoch": 3} if wrapped else state, tmp_path / "o.pt")
    seen = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(InputError, match="the state of an optimizer and no weights"):
        load(tmp_path / "o.pt", arch="nets:tiny_net", preprocess=seen)


def test_hostile_lengths_end(tmp_path: Path):
    path = tmp_path / "model.pt"
    for content in (
        b"\x08\x01\x12" + b"\xff" * 9 + b"\x7f" + bytes(9),
        b"\x08" + b"\xff" * 60,
        b"\x08\x01" + b"\x12\x00" * 5000,
    ):
        path.write_bytes(content)
        with pytest.raises(InputError):
            load(path)
