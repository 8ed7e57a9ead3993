"""Which way of running a model is taken: the fastest that says the same, if it repays trying."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import nn

from equiaudit.errors import InputError
from equiaudit.graphs.capture import capture
from equiaudit.graphs.folding import fold_batch_norms
from equiaudit.models import load
from equiaudit.models.backends import choose, rebuild
from equiaudit.models.preprocess import PreprocessOverrides
from equiaudit.models.running import export_to_onnx

SIZE = 16
MODULE = "equiaudit.models.backends."
IMAGES = torch.randn(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
LONG = 10**9
BATCH_NORM = torch.ops.aten.batch_norm.default


class Shared(nn.Module):
    """A norm of a convolution that something else reads too: it has to stay."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


def normed_net():
    """Norms after convolutions with and without bias, a shared one, and one after a ReLU."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding="valid", groups=2),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        Shared(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
    return net.eval()


def graph_of(module):
    return capture(module, size=(SIZE, SIZE)).graph_module


@pytest.fixture(scope="module")
def model():
    how = PreprocessOverrides(size=(SIZE, SIZE), mean=(0.5,) * 3, std=(0.5,) * 3)
    return load(normed_net(), device="cpu", preprocess=how)


@pytest.fixture(scope="module")
def graph(model):
    return graph_of(model.module)


class Clock:
    """Time that passes by what is called: so much per image and backend."""

    def __init__(self, pace, growth):
        self.now, self.pace, self.growth = 0.0, pace, growth

    def __call__(self):
        return self.now

    def wrap(self, monkeypatch):
        """Let every image take its backend's time, and measuring none."""

        def seconds(model, images, size, clock):
            return self.pace[model.backend] * (1 + self.growth * size)

        monkeypatch.setattr("equiaudit.models.backends._seconds", seconds)
        return self


def norms_in(graph):
    return sum(node.target is BATCH_NORM for node in graph.graph.nodes)


def test_norms_are_folded_where_a_convolution_has_one_reader(model, graph):
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    folded = fold_batch_norms(graph)
    assert (norms_in(graph), norms_in(folded)) == (4, 2)
    expected = model.run(IMAGES)
    assert torch.allclose(folded(IMAGES), expected, atol=1e-5)
    assert not torch.equal(folded(IMAGES), expected + 1e-3)
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


def fast(monkeypatch, growth=0.0, **pace):
    """A clock by which larger batches are slower per image by `growth` for each of theirs."""
    return Clock(defaultdict(lambda: 1.0, pace), growth).wrap(monkeypatch)


def chosen(model, graph, clock, passes=LONG, batch_size=8, capture=None):
    """The choice, where the model's graph is `graph`, or what `capture` returns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE + "graph_of", capture or (lambda model: graph))
        return choose(model, IMAGES, passes=passes, batch_size=batch_size, clock=clock)


@pytest.fixture(scope="module")
def exported(graph):
    return export_to_onnx(graph, IMAGES[:2], what="net", dynamic=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, graph, exported):
    """Compiling takes long and is torch's own business; exporting the one graph once will do."""

    def export(module, *_, **__):
        if module is graph:
            return exported
        raise InputError("not exported here")

    monkeypatch.setattr("equiaudit.models.backends.export_to_onnx", export)
    monkeypatch.setattr(torch, "compile", lambda module: module)


@pytest.mark.parametrize("best", ["torch", "onnxruntime", "torch-folded", "compile"])
def test_the_fastest_way_is_taken_and_says_the_same(monkeypatch, model, graph, best):
    choice = chosen(model, graph, fast(monkeypatch, growth=0.1, **{best: 0.2}))
    assert choice.model.backend == best
    error = (choice.model.run(IMAGES) - model.run(IMAGES)).abs().max()
    assert error <= 1e-5 * (model.run(IMAGES).max() - model.run(IMAGES).min())
    assert {t.backend for t in choice.trials if t.seconds} == {
        "torch", "onnxruntime", "torch-folded", "compile"
    }  # fmt: skip
    size = 8 if best == "compile" else 2
    assert choice.sentence.startswith(f"Backend: {best}, {size} images per call")


def test_a_gain_within_the_noise_changes_nothing(monkeypatch, model, graph):
    choice = chosen(model, graph, fast(monkeypatch, onnxruntime=0.97))
    assert (choice.model, choice.batch_size) == (model, 8)


def test_a_batch_that_does_not_fit_into_memory_is_not_taken(monkeypatch, model):
    def too_large(model, images, size, clock):
        if size > 8:
            raise torch.OutOfMemoryError
        return 1.0

    monkeypatch.setattr("equiaudit.models.backends._seconds", too_large)
    onnx = replace(model, module=None, backend="onnxruntime")
    choice = chosen(onnx, None, Clock({}, 0.0))
    assert (choice.batch_size, choice.trials[-1].batch_size) == (8, 16)
    assert choice.trials[-1].reason == "out of memory"
    choice = chosen(onnx, None, Clock({}, 0.0), batch_size=16)
    assert (choice.model, choice.batch_size) == (onnx, 16)


def test_a_short_scan_tries_nothing(monkeypatch, model):
    def never(module):
        raise AssertionError

    choice = chosen(model, None, fast(monkeypatch), passes=5, capture=never)
    assert choice.model is model
    assert "the scan is short" in choice.sentence


def test_what_takes_long_to_prepare_is_left_out_of_a_middling_scan(monkeypatch, model, graph):
    clock = fast(monkeypatch)

    def slow(module):
        clock.now += 3.0
        return graph

    choice = chosen(model, graph, clock, passes=60, capture=slow)
    reasons = {t.backend: t.reason for t in choice.trials if t.reason}
    assert list(reasons) == ["compile"]
    assert reasons["compile"] == "not tried: about 24 s would not be repaid"


def wrong_graph(model, head):
    return graph_of(nn.Sequential(model.module, head).eval())


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (nn.Softmax(1), "outputs differ by"),
        (nn.Linear(5, 4), "it returns (4,)"),
        (nn.Hardtanh(-1e-3, 1e-3), "labels differ"),
    ],
)
def test_a_way_that_says_something_else_is_rejected(monkeypatch, model, head, said):
    clock = fast(monkeypatch, onnxruntime=0.1, compile=0.1, **{"torch-folded": 0.1})
    choice = chosen(model, wrong_graph(model, head), clock)
    assert choice.model.backend == "torch"
    (reason,) = [t.reason for t in choice.trials if t.backend == "torch-folded"]
    assert said in reason


def test_a_way_that_cannot_be_made_is_rejected_with_its_reason(monkeypatch, model):
    tried = []

    def fails(module):
        tried.append(module)
        raise ValueError("no graph of this\nand more")

    choice = chosen(model, None, fast(monkeypatch), capture=fails)
    assert (choice.model.backend, len(tried)) == ("torch", 1)
    assert choice.sentence.endswith("compile: no graph of this.")


def test_onnx_files_are_tried_at_other_batch_sizes_only(monkeypatch, model):
    onnx = replace(model, module=None, backend="onnxruntime")
    choice = chosen(onnx, None, fast(monkeypatch))
    assert {t.batch_size for t in choice.trials} == {2, 8, 16}
    assert {t.backend for t in choice.trials} == {"onnxruntime"}


def test_an_earlier_choice_is_made_again(model):
    again = rebuild(model, "torch-folded")
    assert again.backend == "torch-folded"
    assert torch.allclose(again.run(IMAGES), model.run(IMAGES), atol=1e-5)
    assert rebuild(model, "torch") is model
    with pytest.raises(InputError, match="no torch module"):
        rebuild(replace(model, module=None), "compile")


def test_paces_are_measured_per_image(model):
    choice = choose(model, IMAGES, passes=1, batch_size=8)
    assert 0 < choice.trials[0].seconds < 1
