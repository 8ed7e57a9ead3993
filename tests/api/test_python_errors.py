"""What goes wrong in Python is said in parameters, by the name of the function that was called."""

import pytest
from nets import tiny_net

import equiaudit
from equiaudit.api.python import in_parameters
from equiaudit.errors import InputError

HOW = {"size": (32, 32), "mean": (0, 0, 0), "std": (1, 1, 1)}


@pytest.mark.parametrize("verb", ["scan", "fix", "verify", "inspect", "load_model"])
def test_a_wrong_name_is_told_by_the_function_that_was_called(verb):
    required = {"scan": ("m.pt", "d"), "fix": ("m.pt", "o.pt")}.get(verb, ("m.pt",))
    with pytest.raises(TypeError, match=rf"^{verb}\(\) has no parameter 'wrong_name'\.$"):
        getattr(equiaudit, verb)(*required, wrong_name=1)
    with pytest.raises(TypeError, match="Did you mean 'size'"):
        getattr(equiaudit, verb)(*required, sise=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: equiaudit.load_model(tiny_net()), "size=(H, W)"),
        (
            lambda: equiaudit.scan(tiny_net(), "d", early_stop=True, **HOW),
            "early_stop=True needs a gate",
        ),
        (
            lambda: equiaudit.scan("m.pt", "d", gates=["circular.consistency drop<=0.1"]),
            'baseline="FILE"',
        ),
        (lambda: equiaudit.fix("m.pt", "o.pt", max_accuracy_drop=0.1), 'Add data="DIR"'),
        (lambda: equiaudit.fix("m.pt", None), 'out="OUT"'),
        (lambda: equiaudit.fix(tiny_net(), "o.pt", margin=4), "no use for margin"),
    ],
)
def test_errors_name_parameters(call, said):
    with pytest.raises(InputError) as caught:
        call()
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "parameters"),
    [
        ("Give a --size that fits.", "Give a size that fits."),
        ("Add --size HxW, --mean R,G,B.", "Add size=(H, W), mean=(R, G, B)."),
        (
            "use --size 224x192, or --method canonical, which",
            'use size=(224, 192), or method="canonical", which',
        ),
        ("Leave --early-stop and --precision out.", "Leave early_stop=True and precision out."),
        ("Use --device cpu, or a smaller --size.", 'Use device="cpu", or a smaller size.'),
        ("Add --calibrate, --distil N or", "Add calibrate=True, distil=N or"),
        ("--shifts circular,zero-pad, a", 'shifts=("circular", "zero-pad"), a'),
        ("--no-accuracy-check goes on", "accuracy_check=False goes on"),
        ("Give one with --gate EXPR.", 'Give one with gates=["EXPR"].'),
        ("--shard I/N is no parameter, a--size and --sizes neither", None),
        ("Name another folder with -o.", "Name another folder with output."),
    ],
)
def test_flags_as_parameters(flags, parameters):
    assert in_parameters(flags) == (parameters or flags)
