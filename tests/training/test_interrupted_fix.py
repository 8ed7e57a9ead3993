"""`fix` keeps the state of a training beside OUT, and goes on from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import training_cases as case
from nets import tiny_net
from PIL import Image

import equiaudit
from equiaudit.audit.observer import Silent


class Impatient(Silent):
    """Interrupts once `patience` images were trained on, and remembers the notes."""

    def __init__(self, patience: int) -> None:
        self.left = patience
        self.notes: list[str] = []

    def advance(self, passes: int) -> None:
        self.left -= passes
        if self.left < 0:
            raise KeyboardInterrupt

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def test_an_interrupted_fix_goes_on_and_tidies_up(tmp_path: Path) -> None:
    folder, out = tmp_path / "images", tmp_path / "fixed.pt"
    folder.mkdir()
    for i, pixels in enumerate(case.examples(12).photos):
        Image.fromarray(pixels).save(folder / f"{i}.png")

    def fix(observer: Impatient) -> None:
        equiaudit.fix(
            tiny_net().eval(),
            out,
            size=case.SIZE,
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            distil=4,
            train_data=folder,
            seconds=0.2,
            observer=observer,
        )

    state = tmp_path / "fixed.pt.training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fix(Impatient(25))
    assert state.exists()
    assert not out.exists()
    patient = Impatient(10**9)
    fix(patient)
    assert "going on with distil after epoch 2" in patient.notes
    assert out.exists()
    assert not state.exists()
