"""Folders of transformers, timm, segmentation_models_pytorch and MONAI, small and at random."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from artefacts import write_torchscript
from nets import tiny_net
from PIL import Image
from safetensors.torch import load_file, save_file

from equiaudit.data import Geometry
from equiaudit.data.decoding import decode
from equiaudit.data.items import Item
from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.processors import albumentations_hints, timm_hints, transformers_hints

SEEN = PreprocessOverrides(size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
BATCH = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
NAMES = {0: "cat", 1: "dog", 2: "owl"}
SMALL = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1],
               "layer_type": "basic"},
    "vit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "image_size": 64, "patch_size": 16},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
}  # fmt: skip
CLASSES = {"resnet": "ResNet", "vit": "ViT", "convnext": "ConvNext"}


def loaded(path, **options):
    return load(path, **{"preprocess": SEEN, "device": "cpu", **options})


def stirred(net: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.eval()


def hugging_face(folder: Path, kind: str) -> torch.nn.Module:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, CLASSES[kind] + "Config")(id2label=NAMES, **SMALL[kind])
    net = stirred(getattr(transformers, CLASSES[kind] + "ForImageClassification")(config))
    net.save_pretrained(folder)
    return net


def edited(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", SMALL)
def test_transformers_classifiers(tmp_path, kind):
    net = hugging_face(tmp_path, kind)
    model = loaded(tmp_path)
    with torch.no_grad():
        assert torch.allclose(model.run(BATCH), net(BATCH).logits, atol=1e-5)
    assert model.class_names == ("cat", "dog", "owl")


def test_transformers_segmenters_are_enlarged_as_transformers_does(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16],
        patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=16, num_labels=4,
    )  # fmt: skip
    net = stirred(transformers.SegformerForSemanticSegmentation(config))
    net.save_pretrained(tmp_path)
    model = loaded(tmp_path)
    with torch.no_grad():
        small = net(BATCH).logits
    assert small.shape[-1] == 16
    wanted = torch.nn.functional.interpolate(small, size=(64, 64), mode="bilinear")
    assert torch.allclose(model.run(BATCH), wanted, atol=1e-5)
    assert model.task == "segmentation"
    assert any("enlarged" in note for note in model.notes)


def test_transformers_weights_that_are_not_whole_are_refused(tmp_path):
    hugging_face(tmp_path, "resnet")
    state = load_file(tmp_path / "model.safetensors")
    del state["classifier.1.weight"]
    save_file({**state, "other": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError) as caught:
        loaded(tmp_path)
    assert "1 missing from the file (classifier.1.weight)" in str(caught.value)
    assert "1 not in the architecture (other)" in str(caught.value)


HOSTILE = {
    "has no such net": ({"architectures": ["Evil"], "auto_map": {"AutoModel": "evil.Evil"}},
                        "code in the folder is not run"),
    "not a net": ({"architectures": ["AutoConfig"]}, "code in the folder is not run"),
    "text": ({"architectures": ["BertModel"], "model_type": "bert"}, "takes no images"),
    "layers": ({"depths": [10**9, 1]}, "no net has that"),
    "wide": ({"hidden_sizes": [8, 1 << 20]}, "states .* weights and holds"),
    "quantised": ({"quantization_config": {"bits": 4}}, "quantised weights"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_configs_are_one_sentence(tmp_path, changes, said):
    hugging_face(tmp_path, "resnet")
    edited(tmp_path / "config.json", **changes)
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    with pytest.raises(InputError, match=said) as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)


def test_timm_folder(tmp_path):
    timm = pytest.importorskip("timm")
    net = stirred(timm.create_model("test_resnet", num_classes=6))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    cfg = {"input_size": [3, 96, 96], "crop_pct": 0.95, "mean": [0.5, 0.4, 0.3],
           "std": [0.2, 0.2, 0.1], "interpolation": "bicubic"}  # fmt: skip
    config = {
        "architecture": "test_resnet",
        "num_classes": 6,
        "pretrained_cfg": cfg,
        "label_names": list("abcdef"),
        "model_args": {"checkpoint_path": "/etc/passwd"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load(tmp_path, device="cpu")
    with torch.no_grad():
        assert torch.allclose(model.run(BATCH), net(BATCH), atol=1e-5)
    seen = model.preprocess
    assert (seen.size, seen.resize, seen.mean) == ((96, 96), 101, (0.5, 0.4, 0.3))  # 101.05
    assert seen.interpolation == "bicubic"
    assert seen.source["mean"] == "pretrained_cfg in config.json"
    assert model.class_names == tuple("abcdef")


def test_timm_s_own_writer(tmp_path):
    timm = pytest.importorskip("timm")
    net = stirred(timm.create_model("test_resnet", num_classes=4))
    timm.models.save_for_hf(net, tmp_path, model_config={"num_classes": 4})
    model = load(tmp_path, device="cpu")
    with torch.no_grad():
        assert torch.allclose(model.run(BATCH), net(BATCH), atol=1e-5)
    assert model.preprocess.size == net.pretrained_cfg["input_size"][1:]


def test_segmentation_models_folder(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    net = stirred(smp.Unet("resnet18", encoder_weights=None, classes=3, decoder_channels=(16,) * 5))
    net.save_pretrained(str(tmp_path))
    model = loaded(tmp_path)
    with torch.no_grad():
        assert torch.allclose(model.run(BATCH), net(BATCH), atol=1e-4)
    assert (model.task, model.num_classes) == ("segmentation", 3)
    with pytest.raises(InputError, match=r"preprocessing of .* is not known"):
        load(tmp_path, device="cpu")
    normalise = {"__class_fullname__": "Normalize", "mean": [0.1, 0.2, 0.3], "std": [0.5] * 3,
                 "max_pixel_value": 255.0}  # fmt: skip
    saved = {"__version__": "2.0", "transform": {"__class_fullname__": "Compose",
             "transforms": [{"__class_fullname__": "Resize"}, normalise]}}  # fmt: skip
    (tmp_path / "albumentations_config_eval.json").write_text(json.dumps(saved))
    model = load(tmp_path, preprocess=PreprocessOverrides(size=(64, 64)), device="cpu")
    assert model.preprocess.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("config", "package", "extra"),
    [
        ({"architectures": ["ViTForImageClassification"]}, "transformers", "transformers"),
        ({"architecture": "resnet18", "pretrained_cfg": {}}, "timm", "timm"),
        ({"_model_class": "Unet", "encoder_name": "x"}, "segmentation_models_pytorch", "smp"),
    ],
)
def test_an_absent_framework_is_one_sentence(tmp_path, monkeypatch, config, package, extra):
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}, which is not installed.*\[{extra}\]"):
        load(tmp_path)


def bundle(folder: Path, spatial: list) -> Path:
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    inputs = {"image": {"num_channels": 3, "spatial_shape": spatial}}
    metadata = {"network_data_format": {"inputs": inputs}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text("{\"x\": \"$open('ran', 'w')\"}")
    return folder


def test_monai_bundle(tmp_path):
    path = bundle(tmp_path, [64, 64])
    with pytest.raises(InputError, match=r"bundle without models/model\.ts"):
        loaded(path)
    net = tiny_net().eval()
    write_torchscript(net, path / "models" / "model.ts", BATCH)
    model = loaded(path)
    with torch.no_grad():
        assert torch.allclose(model.run(BATCH), net(BATCH), atol=1e-5)
    assert any("not run" in note for note in model.notes)


def test_monai_volumes_are_refused_by_name(tmp_path):
    path = bundle(tmp_path, [64, 64, 64])
    write_torchscript(tiny_net().eval(), path / "models" / "model.ts", BATCH)
    with pytest.raises(InputError, match="takes volumes"):
        loaded(path)


def test_other_folders_say_what_is_in_them(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"is a folder, not a model file.*best\.pt"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"names no net"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="adapter"):
        load(tmp_path)


def fields(folder: Path, **config) -> dict:
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return {name: given.value for name, given in transformers_hints(folder).stated.items()}


PLAIN = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3, "do_normalize": True}


def test_processor_with_a_crop(tmp_path):
    read = fields(tmp_path, **PLAIN, image_processor_type="MobileNetV2ImageProcessor", resample=2,
                  size={"shortest_edge": 256}, do_center_crop=True,
                  crop_size={"height": 224, "width": 224})  # fmt: skip
    assert read == {"mean": (0.5, 0.4, 0.3), "std": (0.2,) * 3, "size": (224, 224), "resize": 256,
                    "interpolation": "bilinear"}  # fmt: skip


def test_processor_of_convnext(tmp_path):
    common = {**PLAIN, "image_processor_type": "ConvNextImageProcessor", "resample": 3}
    read = fields(tmp_path, **common, size={"shortest_edge": 224}, crop_pct=0.875)
    assert (read["size"], read["resize"]) == ((224, 224), 256)
    read = fields(tmp_path, **common, size={"shortest_edge": 384})
    assert (read["size"], read["resize"]) == ((384, 384), (384, 384))


def test_processor_that_rescales_otherwise(tmp_path):
    kind = {"image_processor_type": "ViTImageProcessor", "size": 224}
    read = fields(tmp_path, **kind, image_mean=[127.5] * 3, image_std=[127.5] * 3, do_rescale=False)
    assert read["mean"] == pytest.approx((0.5,) * 3)
    assert read["std"] == pytest.approx((0.5,) * 3)
    read = fields(tmp_path, **kind, do_normalize=False)
    assert (read["mean"], read["std"]) == ((0.0,) * 3, (1.0,) * 3)
    assert "mean" not in fields(tmp_path, **kind, **PLAIN, rescale_offset=True)
    assert fields(tmp_path, **PLAIN, image_processor_type="OtherImageProcessor", size=224) == {}


SQUASHED = {"size": {"height": 60, "width": 80}}
KINDS = {
    "ViT": {"size": {"height": 64, "width": 64}},
    "ViT, one number": {"size": 64},
    "ViT, sides that differ": SQUASHED,
    "ViT, shorter side": {"size": {"shortest_edge": 64}},
    "DeiT": {"size": {"height": 72, "width": 72}, "crop_size": 64},
    "Beit": {"size": {"height": 72, "width": 80}, "crop_size": 64, "do_center_crop": True},
    "Segformer": SQUASHED,
    "Pvt": {},
    "Siglip": SQUASHED,
    "CLIP": {"size": 72, "crop_size": 64},
    "CLIP, squashed": {"size": {"height": 72, "width": 80}, "crop_size": 64},
    "Bit": {"size": {"shortest_edge": 72}, "crop_size": 64},
    "ConvNext": {"size": {"shortest_edge": 97}, "crop_pct": 0.875},
    "ConvNext, large": {"size": {"shortest_edge": 384}},
    "MobileNetV2": {"size": 72, "crop_size": {"height": 64, "width": 64}},
    "PoolFormer": {"size": {"shortest_edge": 72}, "crop_size": 63},
    "PoolFormer, square": {"size": {"height": 72, "width": 72}, "crop_size": 63},
}


def smooth(height: int, width: int) -> Image.Image:
    """Three waves, on which two ways to interpolate differ by little and two crops by much."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 23 + k) + np.cos(columns / 19 - k) for k in range(3)]
    return Image.fromarray((np.stack(waves, -1) * 60 + 127).astype(np.uint8))


def as_we_cut(image: Image.Image, path: Path, read: dict) -> np.ndarray:
    """What a model with this preprocessing is given, (H, W, 3) in [0, 1] and normalised."""
    image.save(path)
    how = Geometry(
        read.get("size", (64, 64)),
        resize=read.get("resize"),
        interpolation=read.get("interpolation", "bilinear"),
    )
    decoded = decode(Item(path.name, path, None, 0), how)
    return (decoded.pixels / 255 - np.array(read["mean"])) / np.array(read["std"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(120, 200), (200, 130)])  # middles that all put alike
def test_processors_agree_with_transformers(tmp_path, kind, sides):
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, kind.partition(",")[0] + "ImageProcessor")(**KINDS[kind])
    processor.save_pretrained(tmp_path)
    read = {name: given.value for name, given in transformers_hints(tmp_path).stated.items()}
    theirs = processor(smooth(*sides), return_tensors="np")["pixel_values"][0]
    if "size" not in read:  # the window is the image's
        read["size"] = theirs.shape[1:]
    ours = as_we_cut(smooth(*sides), tmp_path / "image.png", read)
    assert ours.shape == (*theirs.shape[1:], 3)
    error = np.abs(np.moveaxis(theirs, 0, -1) - ours).max() * max(read["std"])
    assert error < 2.5 / 255  # levels that the two libraries round otherwise


@pytest.mark.parametrize("mode", ["center", "squash", None])
@pytest.mark.parametrize("share", [0.9, 1.0, None])
def test_timm_s_transform_cuts_the_same_pixels(tmp_path, mode, share):
    data = pytest.importorskip("timm.data")
    config = {"input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    config |= {"crop_pct": share, "crop_mode": mode, "interpolation": "bilinear"}
    stated = timm_hints(config, "").stated
    read = {name: given.value for name, given in stated.items()}
    known = data.resolve_data_config({}, pretrained_cfg=config)
    theirs = data.create_transform(**known)(smooth(120, 200)).numpy()
    ours = as_we_cut(smooth(120, 200), tmp_path / "image.png", read)
    assert np.allclose(np.moveaxis(theirs, 0, -1), ours, atol=1e-6)


def test_timm_s_borders_are_left_to_the_flags():
    config = {"input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    assert {"size", "resize"}.isdisjoint(timm_hints({**config, "crop_mode": "border"}, "").stated)


def test_two_normalisations_state_nothing(tmp_path):
    step = {"__class_fullname__": "Normalize", "mean": [0.1] * 3, "std": [0.5] * 3}
    saved = {"transform": {"transforms": [step, step]}}
    (tmp_path / "albumentations_config_eval.json").write_text(json.dumps(saved))
    assert albumentations_hints(tmp_path) is None
