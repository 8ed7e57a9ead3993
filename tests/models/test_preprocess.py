"""Preprocessing comes from a stated source, in a fixed order, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
from nets import tiny_net

from equiaudit.errors import InputError
from equiaudit.models import (
    Preprocess,
    PreprocessOverrides,
    load,
    preprocess_toml,
    read_preprocess_file,
)
from equiaudit.models.preprocess import Given, Hints, lendable, resolve_preprocess

ROOT = Path(__file__).parents[2]
FULL = "size = [8, 6]\nmean = [0.1, 0.2, 0.3]\nstd = [1, 1, 1]\n"


def resolved(overrides=None, *, model=None, stated=None, fixed=None):
    hints = Hints(stated=stated or {}, fixed=fixed or {})
    return resolve_preprocess(
        overrides or PreprocessOverrides(), model=model, name="m", hints=hints
    )


def stated(**values):
    return {key: Given(value, "the model") for key, value in values.items()}


IN_MODEL = stated(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(2.0, 2.0, 2.0))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_is_guessed():
    with pytest.raises(InputError) as caught:
        resolved()
    assert str(caught.value) == (
        "The preprocessing of m is not known: size, mean and std are missing. "
        "Add --size HxW --mean R,G,B --std R,G,B (one value each where images are grey),"
        " or --preprocess FILE."
    )
    assert caught.value.flags == ("--size HxW", "--mean R,G,B", "--std R,G,B")


def test_one_value_is_asked_for_where_the_model_takes_grey_images():
    with pytest.raises(InputError, match=r"Add --mean V --std V, or") as caught:
        resolved(fixed=stated(size=(4, 4), channels="gray"))
    assert caught.value.flags == ("--mean V", "--std V")


def test_only_what_is_missing_is_asked_for():
    with pytest.raises(
        InputError, match=r"mean and std are missing. Add --mean R,G,B --std R,G,B \("
    ):
        resolved(PreprocessOverrides(size=(4, 4)))


def test_load_asks_too():
    with pytest.raises(InputError, match="--size HxW"):
        load(tiny_net(), device="cpu")


def test_flags_then_file_then_sidecar_then_model(tmp_path):
    model = tmp_path / "model.onnx"
    write(tmp_path / "model.onnx.toml", FULL + "resize = 9\n")
    file = write(tmp_path / "given.toml", "mean = [0.7, 0.7, 0.7]\nstd = [3, 3, 3]\n")
    overrides = PreprocessOverrides(mean=(0.9, 0.9, 0.9), file=file)
    seen = resolved(overrides, model=model, stated={**IN_MODEL, **stated(interpolation="bicubic")})
    assert (seen.mean, seen.source["mean"]) == ((0.9,) * 3, "flag --mean")
    assert (seen.std, seen.source["std"]) == ((3.0,) * 3, "--preprocess given.toml")
    assert (seen.size, seen.source["size"]) == ((8, 6), "sidecar model.onnx.toml")
    assert (seen.interpolation, seen.source["interpolation"]) == ("bicubic", "the model")
    assert (seen.channels, seen.source["channels"]) == ("rgb", "default")


@pytest.mark.parametrize("name", ["model.onnx.toml", "model.preprocess.toml"])
def test_both_sidecar_names(tmp_path, name):
    write(tmp_path / name, FULL)
    assert resolved(model=tmp_path / "model.onnx").size == (8, 6)


def test_pixel_range_255_is_restated_for_unit_range(tmp_path):
    text = "mean = [123, 117, 104]\nstd = [1, 1, 1]\npixel_range = 255\nsize = [4, 4]\n"
    seen = resolved(PreprocessOverrides(file=write(tmp_path / "p.toml", text)))
    pixel = 200 / 255
    received = [(pixel - m) / s for m, s in zip(seen.mean, seen.std, strict=True)]
    assert received == pytest.approx([200 - 123, 200 - 117, 200 - 104])


def test_one_value_means_gray():
    seen = resolved(PreprocessOverrides(size=(4, 4), mean=(0.5,), std=(0.5,)))
    assert seen.channels == "gray"


def test_gray_models_need_one_value():
    with pytest.raises(InputError, match="3 values of mean, but m takes gray images"):
        resolved(stated=IN_MODEL, fixed=stated(channels="gray"))


def test_raw_pixels_need_no_mean():
    seen = resolved(stated=stated(size=(4, 4)), fixed=stated(dtype="uint8"))
    assert (seen.mean, seen.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_fixed_input_cannot_be_overridden():
    fixed = {"size": Given((4, 4), "ONNX input shape")}
    with pytest.raises(InputError, match=r"flag --size says size \[8, 8\].*has size \[4, 4\]"):
        resolved(PreprocessOverrides(size=(8, 8)), stated=IN_MODEL, fixed=fixed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sise = [4, 4]", "Unknown key 'sise' in .*p.toml"),
        ("size = 4", "size in .*p.toml must be two positive whole numbers"),
        ("size = [4, -4]", "size in"),
        ("size = [4, true]", "size in"),
        ("mean = [0.5, 0.5]", "mean in .* must be 3 numbers"),
        ("mean = ['a', 'b', 'c']", "mean in"),
        ("mean = [nan, 0, 0]", "mean in"),
        ("std = [0, 1, 1]", "std in .* must be 3 positive numbers"),
        (
            "channels = 'xyz'",
            'channels in .* must be "rgb" or "bgr" or "gray" or "multi", not \'xyz\'',
        ),
        ("channels = ['rgb']", "channels in"),
        ("pixel_range = 100", "pixel_range in .* must be 1 or 255"),
        ("pixel_range = 255", "needs both"),
        ("resize = 1.5", "resize in"),
        ("resize = [1, 2, 3]", "resize in"),
        ("size = [", "is not TOML"),
        ("crop_margin = -1", "crop_margin in .* must be a positive whole number"),
        ("crop_votes = 5", "crop_votes in .* must be 1, 4, 9 or 16"),
    ],
)
def test_bad_files_name_the_key_and_the_file(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_preprocess_file(write(tmp_path / "p.toml", text))


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="Cannot read"):
        read_preprocess_file(tmp_path / "nothing.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_preprocess_file(tmp_path / "b.toml")


def test_flags_are_checked_too():
    with pytest.raises(InputError, match="std in --std must be"):
        resolved(PreprocessOverrides(size=(4, 4), mean=(0.5,) * 3, std=(0.0,) * 3))


@pytest.mark.parametrize(
    "seen",
    [
        Preprocess((8, 6), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), channels="bgr", resize=9),
        Preprocess((8, 6), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), resize=(9, 7)),
        Preprocess((8, 6), (0.5,), (0.25,), channels="gray", dtype="float16"),
        Preprocess((8, 6), (0.0,) * 3, (1.0,) * 3, dtype="uint8", layout="NHWC"),
        Preprocess((8, 6), (0.5,) * 3, (1.0,) * 3, crop_margin=5, crop_votes=4),
    ],
)
def test_written_text_reads_back(tmp_path, seen):
    file = write(tmp_path / "p.toml", preprocess_toml(seen))
    again = resolved(PreprocessOverrides(file=file))
    keys = ("size", "mean", "std", "channels", "dtype", "layout", "resize", "interpolation")
    for key in (*keys, "crop_margin", "crop_votes"):
        assert getattr(again, key) == getattr(seen, key)


def test_a_margin_that_leaves_nothing_of_the_window_is_refused(tmp_path):
    text = "size = [8, 6]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\ncrop_margin = 6\n"
    file = write(tmp_path / "p.toml", text)
    with pytest.raises(InputError, match="crop_margin 6, which leaves nothing of the window"):
        resolved(PreprocessOverrides(file=file))


def test_another_size_than_crops_were_chosen_for_is_refused_and_a_crop_s_is_lent(tmp_path):
    seen = Preprocess((24, 20), (0.5,) * 3, (1.0,) * 3, crop_margin=4, crop_votes=4)
    model = tmp_path / "a.pt"
    write(tmp_path / "a.pt.toml", preprocess_toml(seen))
    with pytest.raises(InputError, match=r"chooses among crops of 24x20 px .* --size says 20x16"):
        resolved(PreprocessOverrides(size=(20, 16)), model=model)
    assert resolved(PreprocessOverrides(size=(24, 20)), model=model).crop_votes == 4
    lent = lendable(model, Hints())
    assert lent["size"].value == (20, 16)
    assert not {"crop_margin", "crop_votes"} & lent.keys()


def test_the_types_do_not_import_torch():
    code = "import sys, equiaudit.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
