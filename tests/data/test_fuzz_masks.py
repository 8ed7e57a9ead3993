"""Masks and lists that claim what they do not hold."""

import struct
import zlib

import pytest
from PIL import Image

from equiaudit.data import MaskReader, open_dense_dataset
from equiaudit.data.decoding import decode
from equiaudit.data.geometry import Geometry
from equiaudit.results import Skipped


def claimed_png(width, height):
    """A grey PNG of that size, according to its header, and of one row of pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b""))
    chunks = b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (claimed_png(12_000, 12_000), "more than the 89478485 allowed"),
        (claimed_png(60_000, 60_000), "mask cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "mask cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "mask cannot be read"),
    ],
)
def test_a_mask_that_lies_leaves_its_image_out(tmp_path, content, reason):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "masks" / "a.png").write_bytes(content)
    data = open_dense_dataset(tmp_path, "segmentation", MaskReader(2))
    found = decode(data.items[0], Geometry((8, 8)), data.truth)
    assert isinstance(found, Skipped)
    assert reason in found.reason
