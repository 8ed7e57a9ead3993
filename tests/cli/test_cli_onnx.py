"""A published float16 ONNX file with trained weights: fixed, verified, run by onnxruntime."""

from pathlib import Path

import cases
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

TOML = Path(__file__).parents[1] / "squeezenet.toml"
MEAN = np.float32([104, 117, 123])[:, None, None]
SHIFTS = ((1, 0), (0, 1), (5, 11), (100, 77))


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def photos(folder, count):
    """(1, 3, 224, 224) each: BGR, 0..255 less the mean, float16."""
    for path in sorted(folder.iterdir())[:count]:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32)
        window = pixels[16:240, 16:240, ::-1].transpose(2, 0, 1) - MEAN
        yield window[None].astype(np.float16)


@pytest.mark.long
def test_a_float16_file_is_fixed_and_verified_through_its_own_borders(run, tmp_path):
    case = cases.path("imagenet")
    source, out = case / "weights" / "SqueezeNet_fp16.onnx", tmp_path / "fixed.onnx"
    code, text, err = run("fix", source, "-o", out, "--preprocess", TOML, "--seconds", "1")
    assert code == 0, err
    assert "float16" in text
    onnx.checker.check_model(onnx.load(out), full_check=True)
    before, after = session(source), session(out)
    for old, new in (
        (before.get_inputs()[0], after.get_inputs()[0]),
        (before.get_outputs()[0], after.get_outputs()[0]),
    ):
        assert (old.name, old.type, old.shape) == (new.name, new.type, new.shape)
    kept = changed = 0
    for x in photos(case / "images", 2):
        outputs = [
            [net.run(None, {"data_0": np.roll(x, shift, (2, 3))})[0] for shift in ((0, 0), *SHIFTS)]
            for net in (after, before)
        ]
        kept += all(np.array_equal(y, outputs[0][0]) for y in outputs[0])
        changed += any(not np.array_equal(y, outputs[1][0]) for y in outputs[1])
    assert (kept, changed) == (2, 2)  # the original is the control
    assert run("verify", out, "--against", source, "--seconds", "1")[0] == 0
