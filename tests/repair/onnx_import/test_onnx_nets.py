"""Whole nets as torch's two exporters write them: the import, the graph, and what follows."""

from __future__ import annotations

from collections import Counter

import cases
import onnx
import pytest
import torch
import torchvision
from onnx_builders import error, export, images, run
from torch import nn

from equiaudit.graphs.capture import capture
from equiaudit.repair.onnx import import_onnx
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

SHIFTS = ((1, 0), (0, 1), (3, 5), (13, 30))


class UNet(nn.Module):
    """Two levels; `up` is "transposed" or "bilinear"."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.a, self.b, self.c = block(3, 8), block(8, 16), block(16, 32)
        self.up1, self.up2 = upwards(up, 32, 16), upwards(up, 16, 8)
        self.d, self.e, self.head = block(32, 16), block(16, 8), nn.Conv2d(8, 2, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        a = self.a(x)
        b = self.b(self.pool(a))
        c = self.c(self.pool(b))
        d = self.d(torch.cat([b, self.up1(c)], 1))
        return self.head(self.e(torch.cat([a, self.up2(d)], 1)))


def block(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU())


def upwards(kind, cin, cout):
    if kind == "transposed":
        return nn.ConvTranspose2d(cin, cout, 2, 2)
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(up, nn.Conv2d(cin, cout, 1))


class Mixed(nn.Module):
    """One of each thing that exporters spell out: SiLU, GELU, norms, a shuffle, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.act = nn.SiLU()
        self.groups = nn.GroupNorm(4, 16)
        self.norm = nn.LayerNorm(16)
        self.fc1, self.gelu, self.fc2 = nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.groups(self.act(self.stem(x)))
        y = self.norm(x.permute(0, 2, 3, 1))
        x = x + self.fc2(self.gelu(self.fc1(y))).permute(0, 3, 1, 2)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head((x * self.gate(x)).mean((2, 3)).view(n, -1))


def enlivened(net: nn.Module) -> nn.Module:
    """Weights and statistics with which a shift of the input shows in the output."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=1.3 / module.weight[0].numel() ** 0.5)
    return net.eval()


NAMES = (
    "resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "densenet121",
    "shufflenet_v2_x1_0", "squeezenet1_1",
)  # fmt: skip
OWN = {
    "U-Net, transposed": lambda: UNet("transposed"),
    "U-Net, bilinear": lambda: UNet("bilinear"),
    "mixed": Mixed,
}
FAST_DYNAMO = ("squeezenet1_1", *OWN)
LARGE = ("resnet50", "densenet121", "convnext_tiny")
PAIRS = [
    pytest.param(name, kind, marks=[pytest.mark.long] if slow else [])
    for name in (*NAMES, *OWN)
    for kind in ("legacy", "dynamo")
    for slow in [name in LARGE or (kind == "dynamo" and name not in FAST_DYNAMO)]
]


def built(name):
    made = OWN[name]() if name in OWN else torchvision.models.get_model(name, weights=None)
    return enlivened(made)


def kinds(module):
    return Counter(
        node.target._opname
        for node in module.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )


def agreement(module, proto, batch):
    """(error against onnxruntime, error that float32 itself makes), over the output range."""
    import copy

    x = images(proto, batch) / 2
    with torch.no_grad():
        actual = module(x)
        exact = copy.deepcopy(module).double()(x.double()).float()
    return error(actual, run(proto, x)[0]), error(actual, exact)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_net_is_imported_understood_and_made_exact(name, kind):
    proto = export(built(name), kind)
    imported = import_onnx(proto)
    for batch in (1, 3):
        found, rounding = agreement(imported.module, proto, batch)
        assert found <= max(1e-5, 4 * rounding)
    captured = capture(imported.module, size=imported.size)
    analysis = analyse(captured.graph_module)
    assert analysis.refusals == ()
    _is_exact(rewrite(captured.graph_module, analysis), imported)


def _is_exact(fixed, imported):
    x = torch.randn(2, 3, *imported.size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        reference, original = fixed(x), imported.module(x)
        for dy, dx in SHIFTS:
            moved = x.roll((dy, dx), (2, 3))
            dense = reference.shape[-2:] == x.shape[-2:]
            back = (lambda y, s=(-dy, -dx): y.roll(s, (2, 3))) if dense else (lambda y: y)
            assert torch.equal(back(fixed(moved)), reference)
        assert error(back(imported.module(moved)), original) > 1e-4  # the unmodified net fails


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", *OWN])
def test_the_graph_has_the_operators_of_the_torch_net(name):
    net = built(name)
    ours = capture(import_onnx(export(net, "legacy")).module, size=(64, 64)).graph_module
    theirs = capture(net, size=(64, 64)).graph_module
    both = analyse(ours), analyse(theirs)
    assert both[0].total_stride == both[1].total_stride
    assert [op.effect for op in both[0].ops] == [op.effect for op in both[1].ops]
    kept = ("conv2d", "conv_transpose2d", "linear", "max_pool2d", "silu", "gelu", "group_norm",
            "layer_norm", "upsample_bilinear2d", "cat")  # fmt: skip
    found, wanted = kinds(ours), kinds(theirs)
    assert {k: found[k] for k in kept} == {k: wanted[k] for k in kept}


@pytest.mark.parametrize("opset", [11, 13, 16, 17])
def test_what_older_opsets_spell_out_is_the_same_net(opset):
    proto = export(built("mixed"), "legacy", opset=opset)
    imported = import_onnx(proto)
    assert agreement(imported.module, proto, 2)[0] <= 1e-5
    found = kinds(imported.module)
    assert (found["silu"], found["gelu"], found["group_norm"]) == (1, 1, 1)


@pytest.mark.parametrize("name", ["mixed", "resnet18", "shufflenet_v2_x1_0"])
def test_a_fixed_batch_is_not_baked_in(name):
    net = built(name)
    proto = export(net, "legacy", batch=None)
    imported = import_onnx(proto)
    assert imported.fixed_batch == 1
    x = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        assert error(imported.module(x), net(x)) <= 1e-5
    assert agreement(imported.module, proto, 1)[0] <= 1e-5


def test_names_of_weights_are_the_files():
    imported = import_onnx(export(built("squeezenet1_1"), "legacy"))
    assert "features.0.weight" in dict(imported.module.named_parameters())
    assert not any(p.requires_grad for p in imported.module.parameters())


def test_the_half_precision_squeezenet():
    path = cases.path("imagenet") / "weights" / "SqueezeNet_fp16.onnx"
    imported = import_onnx(path)
    assert (imported.input.dtype, imported.fixed_batch, imported.opset) == ("float16", 1, 7)
    assert imported.widened
    assert imported.output_names == ("softmaxout_1",)
    assert imported.size == (224, 224)
    proto = onnx.load(path)
    x = (images(proto, 1).float() * 40).half()
    with torch.no_grad():
        ours = imported.module(x.float())
    theirs = run(proto, x)[0].float()
    assert ours.dtype == torch.float32
    assert error(ours, theirs) < 5e-3  # the file rounds to float16 along the way
    captured = capture(imported.module, size=(224, 224))
    analysis = analyse(captured.graph_module)
    assert analysis.refusals == ()
    assert analysis.total_stride == (16, 16)
