"""What is known of a model, kept beside its file: --save-preprocess."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.errors import InputError, RunError

if TYPE_CHECKING:
    from equiaudit.audit.observer import Observer
    from equiaudit.models import Model


def check_keeping(model: object, scans: bool = True) -> None:
    """InputError where `model` is no file that something can lie beside, or nothing is read."""
    if not scans:
        raise InputError(
            "--save-preprocess keeps what a run knows, and a dry run loads no images.",
            tip="Leave one of them out.",
        )
    if not isinstance(model, str | Path) or not Path(model).exists():
        raise InputError(
            "--save-preprocess writes beside a model file, and this model is none.",
            tip="Leave it out.",
        )


def keep_preprocess(model: Model, observer: Observer) -> None:
    """Write the preprocessing of `model` and how its output was read to the sidecar, MODEL.toml.

    One that says the same already stays as it is, comments and all.
    """
    from equiaudit.models import preprocess_toml, read_preprocess_file
    from equiaudit.models.preprocess import parse_preprocess
    from equiaudit.models.stated_reading import known_reading, with_reading

    if model.path is None:
        return
    sidecar = model.path.with_name(model.path.name + ".toml")
    text = preprocess_toml(with_reading(model.preprocess, known_reading(model)))
    told = parse_preprocess(text, where=str(sidecar), source="")
    if sidecar.is_file():
        there = read_preprocess_file(sidecar)
        if {k: v.value for k, v in there.items()} == {k: v.value for k, v in told.items()}:
            observer.note(f"{sidecar} says all of it already")
            return
    try:
        sidecar.write_text(text, encoding="utf-8")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise RunError(f"Cannot write {sidecar}: {why}.") from error
    observer.note(f"Wrote {sidecar}")
