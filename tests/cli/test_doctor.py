"""equiaudit doctor: what it finds is what is there."""

from importlib import metadata

import pytest

from equiaudit.cli import doctor

STATED = [
    "numpy>=2.0",
    "nowhere-to-be-found>=1.0",
    'numpy>=9999.0; extra == "later"',
    'numpy>=1.0 ; extra == "there"',
    'ruff<0.18,>=0.17; extra == "dev"',
]


@pytest.fixture
def stated(monkeypatch):
    def becomes(requirements):
        monkeypatch.setattr(doctor.metadata, "requires", lambda name: requirements)

    return becomes


def test_a_sound_installation_says_so(run, stated):
    stated(["torch>=2.0", "onnxruntime>=1.0"])
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert metadata.version("torch") in out
    assert "CPUExecutionProvider" in out
    assert out.rstrip().endswith("need is there.")


def test_what_is_missing_or_too_old_is_named(run, stated):
    stated(STATED)
    code, out, _ = run("doctor")
    assert code == 3
    assert "nowhere-to-be-found missing" in out
    assert "Not usable as it is: nowhere-to-be-found." in out
    assert "pip install 'equiaudit[later]'" in out
    assert f"[there]         numpy {metadata.version('numpy')}" in out
    assert "ruff" not in out


def test_a_runtime_that_does_not_start_is_a_fault(run, stated, monkeypatch):
    def broken():
        raise OSError("libcudart.so.13: cannot open\nand more")

    stated([])
    monkeypatch.setattr(doctor, "_onnx", broken)
    code, out, _ = run("doctor")
    assert code == 3
    assert "does not start: OSError: libcudart.so.13: cannot open" in out
    assert "and more" not in out
