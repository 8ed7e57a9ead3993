"""equiaudit inspect, fix and verify, on the built-in model."""

import json
from dataclasses import replace

import pytest
import torch
from artefacts import write_onnx
from nets import tiny_net

from equiaudit.demo import DEMO_ARCH, images_path, weights_path

ARCH = ("--arch", DEMO_ARCH)
QUICK = ("--seconds", "0.5")


@pytest.fixture
def fixed(run, tmp_path):
    """The built-in model, converted."""
    out = tmp_path / "fixed.pt2"
    assert run("fix", weights_path(), *ARCH, "-o", out, *QUICK)[0] == 0
    return out


def test_inspect_needs_no_data_and_no_normalisation(run, tmp_path):
    code, out, err = run("inspect", weights_path(), *ARCH)
    assert code == 0
    command = f"equiaudit fix {weights_path()} -o demo-fixed.pt --data DIR --arch {ARCH[1]}"
    assert err.splitlines()[-1] == f"Next: {command}"
    assert "total stride 8x8" in out
    code, out, _ = run("inspect", weights_path(), *ARCH, "--format", "json")
    assert {row["op"] for row in json.loads(out)["ops"]} >= {"conv2d", "max_pool2d"}
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(weights_path().read_bytes())
    assert run("inspect", bare, *ARCH, "--size", 32)[0] == 0
    code, _, err = run("inspect", bare, *ARCH)
    assert code == 2
    assert "--size" in err


def test_a_dry_run_prints_the_plan_and_changes_nothing(run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = run(
        "fix", weights_path(), *ARCH, "-o", tmp_path / "x.pt", "--dry-run", "--explain"
    )
    assert code == 0
    assert "Planned, nothing written" in out
    assert "zero padding becomes circular" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_fix_writes_what_verified_and_the_record(run, fixed, tmp_path):
    record = json.loads((tmp_path / "reports/fixed-fix/verification.json").read_text())
    assert [each["passed"] for each in record] == [True, True]
    assert [each["subject"] for each in record] == ["converted graph", "saved file"]
    assert record[0]["control"]["comparisons_exact"] != record[0]["control"]["comparisons"]
    net = torch.export.load(fixed).module()
    x = torch.randn(5, 3, 32, 32)
    assert torch.equal(net(x), net(torch.roll(x, (3, -5), (2, 3))))


def test_fix_shows_both_columns_and_holds_the_accuracy(run, tmp_path):
    data = ("--data", images_path(), "--limit", 24, "--offsets", 4)
    out = tmp_path / "a.pt"
    code, text, err = run("fix", weights_path(), *ARCH, "-o", out, *data, *QUICK)
    assert code == 0, err
    assert "circular.consistency" in text
    full = json.loads((tmp_path / "reports/a-fix/fix.json").read_text())
    assert full["before"]["circular.consistency"]["value"] < 1
    assert full["after"]["circular.consistency"]["value"] == 1
    assert full["after"]["circular.logit_error_max"]["value"] == 0
    assert (tmp_path / "reports/a-fix/after/report.html").exists()
    drop = full["before"]["circular.accuracy_clean"]["value"]
    drop -= full["after"]["circular.accuracy_clean"]["value"]
    assert drop <= 0.1


def test_a_model_that_loses_more_accuracy_is_not_left_at_its_name(run, tmp_path, monkeypatch):
    from equiaudit.api import columns

    real = columns.loss_between

    def worse(task, before, after, **how):
        """As if the repaired model knew nothing any more."""
        return real(task, before, [replace(r, clean=(r.clean + 1) % 6) for r in after], **how)

    monkeypatch.setattr(columns, "loss_between", worse)
    out = tmp_path / "a.pt"
    data = ("--data", images_path(), "--limit", 16, "--offsets", 2, "--method", "mass")
    code, text, _ = run("fix", weights_path(), *ARCH, "-o", out, *data, *QUICK)
    assert code == 1
    assert text.startswith("Accuracy ")
    assert "points worse" in text.splitlines()[0]
    assert "more than the 1 point allowed" in " ".join(text.split())
    assert not out.exists()
    assert out.with_name("a.pt.unverified").exists()


def test_verify_tells_the_fixed_model_from_the_original(run, fixed, tmp_path):
    code, out, _ = run("verify", fixed, "--against", weights_path(), *ARCH, *QUICK, "-o", "v")
    assert code == 0
    assert "passed" in out
    assert json.loads((tmp_path / "v/verification.json").read_text())[0]["passed"]
    code, out, _ = run("verify", weights_path(), images_path(), *ARCH, *QUICK, "--limit", 2)
    assert code == 1
    assert "failed" in out.lower()


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (("fix", "-o", "x.bin"), 2, "suffix"),
        (("fix",), 2, "-o OUT"),
        (("fix", "-o", "x.pt", "--method", "magic"), 2, "magic"),
        (("fix", "-o", "x.pt", "--select", "magic"), 2, "magic"),
        (("fix", "-o", "x.pt", "--max-accuracy-drop", "1%"), 2, "--data"),
        (("fix", "-o", "x.pt", "--max-accuracy-drop", "lots", "--data", "."), 2, "lots"),
        (("fix", "-o", "x.pt", "--size", "33"), 5, "32"),
        (("inspect", "--format", "html"), 2, "html"),
    ],
)
def test_bad_input_is_one_sentence(run, tmp_path, argv, code, word):
    verb, *rest = argv
    found, out, err = run(verb, weights_path(), *ARCH, *rest)
    assert found == code, err
    assert word in err.splitlines()[-1]
    assert out == ""
    assert not list(tmp_path.glob("x*"))


def test_an_exact_model_leaves_nothing_to_fix(run, tmp_path):
    class Exact(torch.nn.Module):
        def forward(self, x):
            return x.amax((2, 3))

    path = tmp_path / "exact.pt2"
    shapes = ({0: torch.export.Dim("batch")},)
    example = torch.rand(2, 3, 8, 8)
    torch.export.save(torch.export.export(Exact(), (example,), dynamic_shapes=shapes), path)
    unit = ("--mean", "0,0,0", "--std", "1,1,1", "--size", 8)
    code, _, err = run("fix", path, *unit, "-o", tmp_path / "x.pt2")
    assert code == 5
    assert "Nothing" in err


class WithPositions(torch.nn.Module):
    """What no rewriting makes exact: a head that reads every position by itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.positions = torch.nn.Parameter(torch.randn(1, 3, 8, 8))
        self.head = torch.nn.Linear(192, 5)

    def forward(self, x):
        return self.head((x + self.positions).relu().flatten(1))


@pytest.fixture
def positional(tmp_path):
    """The file of such a model, and what it needs to be read."""
    path, example = tmp_path / "net.pt2", torch.rand(2, 3, 8, 8)
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(WithPositions().eval(), (example,), dynamic_shapes=shapes)
    torch.export.save(exported, path)
    return path, "--mean", "0,0,0", "--std", "1,1,1", "--size", 8


def test_canonical_fixes_what_mass_refuses(run, positional, tmp_path):
    code, _, err = run("fix", *positional, "-o", tmp_path / "x.pt2", *QUICK)
    assert code == 5
    assert "--method canonical" in err
    out = tmp_path / "fixed.pt"
    code, text, err = run("fix", *positional, "-o", out, "--method", "canonical", *QUICK)
    assert code == 0, err
    assert "canonical" in text
    net, fixed = WithPositions().eval(), torch.jit.load(out)
    x = torch.rand(3, 3, 8, 8)
    moved = torch.roll(x, (5, 2), (2, 3))
    assert torch.equal(fixed(x), fixed(moved))
    assert not torch.allclose(net(x), net(moved), atol=1e-2)


def test_a_dry_run_that_is_refused_lists_the_methods_that_fit(run, positional, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("fix", *positional, "--dry-run")
    assert code == 5
    assert "cannot be converted exactly: add" in err.splitlines()[-1]
    assert out.startswith("Refused, nothing written (mass")
    fit, unfit = out.split("Methods that fit:")[1].split("Do not fit:")
    assert "canonical: exact" in fit
    assert "mass" not in fit
    assert "mass, " in unfit
    code, out, _ = run("fix", *positional, "--dry-run", "--format", "json")
    plan = json.loads(out)
    assert (code, plan["outcome"], plan["claim"]) == (5, "planned", None)
    assert "add" in plan["reason"]
    reasons = {row["method"]: row["reason"] for row in plan["candidates"]}
    assert reasons["canonical"] is None
    assert reasons["mass"] in plan["reason"]
    code, out, _ = run("fix", *positional, "--dry-run", "--method", "canonical")
    assert code == 0
    assert out.startswith("Planned, nothing written (canonical")
    assert sorted(tmp_path.rglob("*")) == before


def test_inspect_reads_onnx_as_it_reads_torch(run, tmp_path):
    example = torch.rand(2, 3, 32, 32)
    path = write_onnx(tiny_net().eval(), tmp_path / "net.onnx", example)
    state = tmp_path / "net.pth"
    torch.save(tiny_net().state_dict(), state)
    found = []
    for model in ((path, "--size", 32), (state, "--size", 32, "--arch", "nets:tiny_net")):
        code, out, err = run("inspect", *model, "--format", "json")
        assert code == 0, err
        found.append(json.loads(out))
    onnx, module = found
    assert onnx["total_stride"] == module["total_stride"] == [4, 4]
    assert [row["op"] for row in onnx["ops"]] == [row["op"] for row in module["ops"]]
