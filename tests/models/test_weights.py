"""Which of the weights in a checkpoint are taken, under which names, and what is said of it."""

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torchvision
from nets import tiny_net
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.weights import is_average

SEEN = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
BATCH = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = tiny_net()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made.eval()


RAW, AVERAGE = net(1), net(2)
raw, average = RAW.state_dict(), AVERAGE.state_dict()


def under(prefix: str, state) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


def read(path: Path, saved, **options):
    torch.save(saved, path)
    named = {"arch": "nets:tiny_net", "preprocess": SEEN, "device": "cpu", **options}
    return load(path, **named)


def is_of(model, module: nn.Module) -> bool:
    with torch.no_grad():
        return torch.allclose(model.run(BATCH), module(BATCH), atol=1e-6)


BOTH = {
    "timm": {"state_dict": raw, "state_dict_ema": average, "arch": "x", "epoch": 3},
    "model_ema": {"model": raw, "model_ema": average, "optimizer": {}},
    "deit": {"model": raw, "model_ema": under("module.", average)},
    "rt-detr": {"model": raw, "ema": {"module": average, "updates": 7, "warmups": 2}},
    "ema_state_dict": {"model_state_dict": raw, "ema_state_dict": average},
    "basicsr": {"params": raw, "params_ema": average},
    "stylegan": {"g": raw, "g_ema": average},
    "swa": {
        "state_dict": raw,
        "swa_model": {"n_averaged": torch.tensor(4), **under("module.", average)},
    },
    "averaged": {"model": raw, "averagedModel": average},
    "lightning callback": {
        "state_dict": under("model.", raw),
        "callbacks": {"EMACallback{'decay': 0.99}": {"ema_state_dict": average}},
    },
    "lightning averaging": {
        "state_dict": under("net.", average),
        "current_model_state": under("net.", raw),
        "averaging_state": {"n_averaged": torch.tensor(9)},
    },
    "beside in one dict": {**under("model.", raw), **under("model_ema.", average)},
    "ema-pytorch": {
        **under("online_model.", raw),
        **under("ema_model.", average),
        "initted": torch.tensor(True),
        "step": torch.tensor(9),
    },
    "compiled": {
        "state_dict": under("module._orig_mod.", raw),
        "state_dict_ema": under("_orig_mod.module.", average),
    },
    "nested": {"checkpoint": {"state": {"model": raw, "model_ema": {"state_dict": average}}}},
}  # fmt: skip


@pytest.mark.parametrize("saved", BOTH.values(), ids=BOTH)
def test_averages_are_taken_before_raw_weights_and_that_is_said(tmp_path, saved):
    model = read(tmp_path / "c.pt", saved)
    assert is_of(model, AVERAGE)
    assert not is_of(model, RAW)
    assert any("averaged weights" in note and "--weights raw" in note for note in model.notes)


@pytest.mark.parametrize("saved", BOTH.values(), ids=BOTH)
def test_either_is_taken_by_name_and_they_are_two_models(tmp_path, saved):
    taken = read(tmp_path / "c.pt", saved)
    assert is_of(read(tmp_path / "c.pt", saved, weights="ema"), AVERAGE)
    other = read(tmp_path / "c.pt", saved, weights="raw")
    assert is_of(other, RAW)
    assert any("--weights ema" in note for note in other.notes)
    assert other.sha256 != taken.sha256


def test_weights_are_taken_by_their_key_or_prefix(tmp_path):
    saved = {"first": raw, "inner": {"second": average}}
    assert is_of(read(tmp_path / "c.pt", saved, weights="first"), RAW)
    assert is_of(read(tmp_path / "c.pt", saved, weights="inner.second"), AVERAGE)
    saved = {**under("student.", raw), **under("teacher.", average)}
    assert is_of(read(tmp_path / "c.pt", saved, weights="teacher"), AVERAGE)
    assert is_of(read(tmp_path / "c.pt", saved, weights="student."), RAW)
    with pytest.raises(InputError, match="no single set of weights 'other'"):
        read(tmp_path / "c.pt", saved, weights="other")


@pytest.mark.parametrize(
    "saved",
    [
        {"student": raw, "teacher": average},
        {**under("student.", raw), **under("teacher.", average)},
        {"ema_1": raw, "ema_2": average},
    ],
    ids=["keys", "prefixes", "two averages"],
)
def test_two_sets_of_one_rank_are_refused(tmp_path, saved):
    with pytest.raises(InputError, match=r"2 sets of weights that fit equally.*Say which"):
        read(tmp_path / "c.pt", saved)


def test_the_same_weights_twice_are_one_set(tmp_path):
    saved = {"best": raw, "last": {k: v.clone() for k, v in raw.items()}}
    assert is_of(read(tmp_path / "c.pt", saved), RAW)


def test_raw_weights_are_not_taken_for_averages_that_do_not_fit(tmp_path):
    cut = {name: tensor for name, tensor in average.items() if "weight" in name or "bias" in name}
    del cut["conv2.bias"]
    mangled = {"model_ema." + name.replace(".", ""): tensor for name, tensor in average.items()}
    for saved in (
        {"state_dict": raw, "ema": cut},
        {**under("model.", raw), **mangled, "model_ema.decay": torch.tensor(0.9)},
        {"model": raw, "ema": {"decay": 0.9, "shadow_params": list(average.values())}},
    ):
        with pytest.raises(InputError, match=r"holds averaged weights .*--weights raw"):
            read(tmp_path / "c.pt", saved)
        assert is_of(read(tmp_path / "c.pt", saved, weights="raw"), RAW)


def test_an_average_that_was_never_updated_is_not_taken_without_a_word(tmp_path):
    never = {"n_averaged": torch.tensor(0), **under("module.", average)}
    with pytest.raises(InputError, match="never updated"):
        read(tmp_path / "c.pt", {"model": raw, "model_ema": never})
    alone = read(tmp_path / "c.pt", never)
    assert is_of(alone, AVERAGE)
    assert any("never updated" in note for note in alone.notes)


def test_lightning_s_running_average_has_no_batch_statistics(tmp_path):
    kept = {"n_averaged": 2, "average_model_state": under("net.", average)}
    saved = {
        "state_dict": under("net.", raw),
        "callbacks": {"StochasticWeightAveraging": kept},
    }
    with pytest.raises(InputError, match=r"keeps no batch statistics.*--weights raw"):
        read(tmp_path / "c.ckpt", saved)
    assert is_of(read(tmp_path / "c.ckpt", saved, weights="raw"), RAW)
    assert is_of(read(tmp_path / "c.ckpt", saved, weights="ema"), AVERAGE)


def test_an_averaged_model_of_torch(tmp_path):
    averaged = AveragedModel(net(1), multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    averaged.update_parameters(net(1))
    averaged.update_parameters(net(2))
    model = read(tmp_path / "c.pt", averaged.state_dict())
    assert is_of(model, averaged.module.eval())
    assert any("are an average" in note for note in model.notes)
    assert any("n_averaged (a counter, 1)" in note for note in model.notes)


PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "module.module.", "model.", "net.",
            "model._orig_mod.", "encoder.network.", "lit.model.module.")  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_found_by_the_net_s_own_names(tmp_path, prefix):
    saved = {"state_dict": under(prefix, raw), "optimizer_states": [{"state": {0: raw}}]}
    model = read(tmp_path / "c.pt", saved)
    assert is_of(model, RAW)
    said = any("without" in note for note in model.notes)
    assert said == (prefix.replace("module.", "").replace("_orig_mod.", "") != "")


def test_compilers_words_inside_names_are_taken_out(tmp_path):
    saved = {name.replace("conv2.", "conv2._orig_mod."): t for name, t in raw.items()}
    assert is_of(read(tmp_path / "c.pt", saved), RAW)


BESIDE = {
    "criterion.weight": torch.ones(5),
    "val_acc.tp": torch.ones(5),
    "perceptual_loss.net.conv.weight": torch.ones(5, 3, 3, 3),
    "total_ops": torch.ones(1),
}


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_losses_and_metrics_beside_the_net_are_left_out_and_said(tmp_path, prefix):
    model = read(tmp_path / "c.ckpt", {"state_dict": {**under(prefix, raw), **BESIDE}})
    assert is_of(model, RAW)
    (note,) = [note for note in model.notes if "left out" in note]
    assert "criterion (a loss, 1)" in note
    assert "val_acc (a metric, 1)" in note


def test_anything_else_beside_the_net_is_refused_unless_named(tmp_path):
    saved = {"state_dict": {**under("backbone.", raw), "head.weight": torch.ones(4, 5)}}
    with pytest.raises(InputError, match=r"1 not in the architecture \(head.weight\).*--weights"):
        read(tmp_path / "c.ckpt", saved)
    model = read(tmp_path / "c.ckpt", saved, weights="backbone")
    assert is_of(model, RAW)
    assert any("head (beside the net, 1)" in note for note in model.notes)


def test_the_parts_of_a_toolbox_s_net(tmp_path):
    saved = {
        "meta": {"epoch": 3},
        "state_dict": {("head." if "head" in n else "backbone.") + n: t for n, t in raw.items()},
    }
    assert is_of(read(tmp_path / "c.pth", saved), RAW)


def test_the_parts_of_a_toolbox_s_net_of_the_registry_with_classes_of_its_own(tmp_path):
    net = torchvision.models.resnet18(num_classes=4).state_dict()
    parts = {("head." if n.startswith("fc") else "backbone.") + n: t for n, t in net.items()}
    model = read(tmp_path / "c.pth", {"state_dict": parts}, arch="torchvision:resnet18")
    assert model.num_classes == 4
    assert torch.equal(model.module.state_dict()["fc.weight"], net["fc.weight"])


def test_safetensors_with_both(tmp_path):
    save_file({**under("model.", raw), **under("ema.module.", average)}, tmp_path / "c.safetensors")
    options = {"arch": "nets:tiny_net", "preprocess": SEEN, "device": "cpu"}
    assert is_of(load(tmp_path / "c.safetensors", **options), AVERAGE)
    assert is_of(load(tmp_path / "c.safetensors", **options, weights="raw"), RAW)


def test_whole_modules_under_trust(tmp_path):
    torch.save({"model": RAW, "ema": AVERAGE, "updates": 3}, tmp_path / "c.pt")
    options = {"preprocess": SEEN, "device": "cpu", "trust": True}
    model = load(tmp_path / "c.pt", **options)
    assert is_of(model, AVERAGE)
    assert any("--weights raw" in note for note in model.notes)
    assert is_of(load(tmp_path / "c.pt", **options, weights="raw"), RAW)
    torch.save({"model": RAW, "ema": None}, tmp_path / "c.pt")
    assert is_of(load(tmp_path / "c.pt", **options), RAW)


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_and_histories_beside_the_weights_are_not_built(tmp_path, monkeypatch, zipped):
    """As timm and mmengine save them; the module they name does not even exist on reading."""
    home = ModuleType("gone_toolbox")
    exec("class History:\n    def __init__(self): self.values = [1, 2]", home.__dict__)
    home.History.__module__ = "gone_toolbox"
    monkeypatch.setitem(sys.modules, "gone_toolbox", home)
    saved = {
        "state_dict": raw,
        "args": argparse.Namespace(model="x", lr=0.1),
        "message_hub": {"loss": home.History()},
    }
    torch.save(saved, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "gone_toolbox")
    options = {"arch": "nets:tiny_net", "preprocess": SEEN, "device": "cpu"}
    model = load(tmp_path / "c.pt", **options)
    assert is_of(model, RAW)
    assert any("gone_toolbox.History" in n and "not read" in n for n in model.notes)
    assert "gone_toolbox" not in sys.modules


def test_a_module_in_the_place_of_the_average_needs_trust(tmp_path):
    torch.save({"model": raw, "ema": AVERAGE}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="needs code to unpickle"):
        load(tmp_path / "c.pt", arch="nets:tiny_net", preprocess=SEEN, device="cpu")


def test_weights_of_other_kinds_cannot_be_chosen(tmp_path):
    torch.jit.save(torch.jit.trace(RAW, BATCH), tmp_path / "m.pt")
    with pytest.raises(InputError, match="Leave --weights out"):
        load(tmp_path / "m.pt", preprocess=SEEN, weights="ema")


@pytest.mark.parametrize(
    "name", ["ema", "model_ema.module", "modelEMA", "modelEma", "g_ema", "swa_model", "averaged"]
)
def test_names_of_averages(name):
    assert is_average(name)


@pytest.mark.parametrize("name", ["model", "schema", "avgpool", "emanuel", "cinema", "swap", ""])
def test_names_that_are_none(name):
    assert not is_average(name)


def test_ordered_dicts_and_buffers_without_counts(tmp_path):
    old = OrderedDict((n, t) for n, t in raw.items() if not n.endswith("num_batches_tracked"))
    assert is_of(read(tmp_path / "c.pt", old), RAW)
