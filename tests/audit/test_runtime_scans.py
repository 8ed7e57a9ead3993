"""One net scanned in three runtimes: the same labels, image by image and shift by shift."""

import csv

import pytest
from audit.small import small_net, write_images

import equiaudit

pytest.importorskip("openvino")
WORDS = ("label", "predict", "flip", "consist", "agree", "file", "kind")


@pytest.mark.long
def test_three_runtimes_give_the_same_labels(tmp_path):
    net = small_net().eval()
    write_images(tmp_path / "data", count=12, classes=("a", "b", "c", "d"))
    found = {}
    for backend in ("torch", "onnxruntime", "openvino"):
        out = tmp_path / backend
        result = equiaudit.scan(
            net, tmp_path / "data", size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3,
            backend=backend, device="cpu", offsets=6, max_shift=4, output=out,
        )  # fmt: skip
        assert result.fingerprint.backend == backend
        rows = list(csv.DictReader((out / "samples.csv").open()))
        keys = [key for key in rows[0] if any(word in key for word in WORDS)]
        assert len(keys) > 3
        found[backend] = [[row[key] for key in keys] for row in rows]
    assert found["onnxruntime"] == found["torch"]
    assert found["openvino"] == found["torch"]
