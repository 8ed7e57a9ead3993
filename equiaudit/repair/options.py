"""What `fix` is told, and what of it can be checked before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from equiaudit.errors import InputError

Pad = Literal["wrap", "slices"]
"""How an ONNX graph pads circularly: Pad(mode="wrap") of opset 19, or Slice and Concat, which
every runtime knows."""
Select = Literal["features", "input"]
Window: TypeAlias = int | Literal["auto"] | None

OPSETS: Mapping[Pad, int] = {"wrap": 20, "slices": 18}
SUFFIXES = (".pt", ".pt2", ".onnx", ".safetensors")
"""Of the files that can be written."""


@dataclass(frozen=True)
class FixOptions:
    """How to convert and how hard to check.

    Each method names the fields it `understands`; one that no part of the method understands has
    to keep its default. `only` and `skip` are globs over node names and module paths; `margin` is
    how many px the input of `crop-select` is larger than the window; `positions` pairs
    the name or place of an output with "boxes", "keypoints" or "none"; `window` is how many px of a
    map's border are left out of choices (see `equiaudit.sampling.windowing`).
    `comparisons` bounds each verification (see `verify`); where it is None, as many are made as
    take about `seconds` for all of them together. `devices` are those to verify on; None means the
    CPU, and CUDA where there is one. `pad` is how an ONNX file pads circularly.
    """

    method: str = "mass"
    select: Select = "features"
    only: str | Sequence[str] | None = None
    skip: str | Sequence[str] | None = None
    margin: int = 16
    positions: tuple[tuple[str, str], ...] = ()
    window: Window = None
    comparisons: int | None = None
    seconds: float = 20.0
    seed: int = 0
    devices: tuple[str, ...] | None = None
    pad: Pad = "wrap"
    dry_run: bool = False


def checked_out(out: Path | str | None, options: FixOptions) -> Path | None:
    """The file to write, None for a dry run without one; InputError where it cannot be."""
    if out is not None:
        return checked_target(out, options.pad)
    if options.dry_run:
        return None
    raise InputError("fix needs a file to write.", tip="Add -o OUT, or --dry-run.")


def checked_target(out: Path | str, pad: Pad = "wrap") -> Path:
    """`out`; InputError where its suffix names no kind of model, or its folder is not there."""
    target = Path(out)
    check_suffix(target, pad)
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent} to write {target.name} into.")
    return target


def check_suffix(path: Path, pad: Pad) -> None:
    """InputError where the suffix names no kind of model, or one that `pad` is not for."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path.name} has no suffix that names a kind of model.",
            tip=f"Use one of {', '.join(SUFFIXES)}.",
        )
    if pad not in OPSETS:
        raise InputError(f"--pad is {pad!r}.", tip=f"It is {' or '.join(OPSETS)}.")
    if pad != "wrap" and suffix != ".onnx":
        raise InputError(f"--pad {pad} is for ONNX files, and {path.name} is none.")
