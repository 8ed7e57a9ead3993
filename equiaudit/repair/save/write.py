"""Save: write a converted graph beside its place, run what was written, and only then rename."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import fx

from equiaudit.errors import EquiauditError, InputError, RunError, first_line
from equiaudit.graphs.outputs import all_outputs
from equiaudit.graphs.routes import inlined
from equiaudit.models.hashing import file_sha256
from equiaudit.models.preprocess import preprocess_toml
from equiaudit.models.types import Preprocess
from equiaudit.repair.save.formats import Format, Run, file_format
from equiaudit.repair.save.in_runtimes import elsewhere

Outputs = torch.Tensor | Sequence[torch.Tensor]

_ONNX_TOLERANCE = 1e-5
"""Of the output range: another runtime sums in another order."""

_LEEWAY = 4.0
"""Times the difference between the graph's own float32 and float64 results."""

_TIES = 1e-3
"""The share of whole numbers that may differ, as the places of maxima do in near ties."""

_OTHER_ORIGIN = ", perhaps by choosing another origin; --select input chooses by exact pixels"


@dataclass(frozen=True)
class Saved:
    """What was written, and whether it passed."""

    path: Path
    """OUT where it verified, else OUT.unverified."""
    companions: tuple[Path, ...]
    """Files that belong with it: the preprocessing sidecar, a checkpoint's graph and config."""
    sha256: str
    bytes: int
    """Of the file and its companions."""
    reason: str | None = None
    """Which check failed; None where all passed."""

    @property
    def verified(self) -> bool:
        """Whether the file lies at the name that was asked for."""
        return self.reason is None


def save(
    module: fx.GraphModule,
    path: Path | str,
    *,
    example: torch.Tensor,
    preprocess: Preprocess | None = None,
    check: Callable[[Run], str | None] | None = None,
    kind: Format | None = None,
) -> Saved:
    """Write `module` as a file of `kind`, by default what `path`'s suffix names (see `formats`).

    The file is written in a temporary folder beside `path`, loaded again, and compared with
    `module` on `example` (N, C, H, W) and on its first image alone: bit for bit, or for ONNX
    to 1e-5 of the output range with the same labels (a graph that blows up its own last bits is
    held to four times what float64 gives differently), and where the file's outputs are float16,
    to one step of that. Then `check` may run it and return a
    sentence that says what is wrong. Only a file that passes is renamed to `path`; another
    one becomes ``OUT.unverified`` and an older file at `path` stays.

    `preprocess` travels inside the file and as the sidecar ``OUT.toml``.
    Raises InputError where the suffix is unknown or the folder does not exist, and RunError
    where the graph cannot be written as that kind, or the disk takes no more.
    """
    path = Path(path)
    kind = kind or file_format(path)
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} into.")
    toml = preprocess_toml(preprocess) if preprocess is not None else ""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            companions = _written(kind, module, draft, example, toml)
            reason = _trouble(kind, module, draft, example, check)
            return placed(draft, companions, path.parent, reason)
    except OSError as error:
        raise RunError(
            f"Cannot write {path}: {(error.strerror or str(error)).lower()}.",
            tip="Make room, or name another folder with -o.",
        ) from error


def _written(
    kind: Format, module: fx.GraphModule, draft: Path, example: torch.Tensor, toml: str
) -> list[Path]:
    try:
        companions = list(kind.write(inlined(module, example), draft, example, toml))
    except (EquiauditError, OSError):
        raise
    except Exception as error:  # exporters raise nearly anything
        raise RunError(
            f"The graph cannot be written as {draft.suffix}: {first_line(error)}",
            tip="Another suffix may work: .pt, .pt2, .onnx or .safetensors.",
        ) from error
    if toml:
        sidecar = draft.with_name(draft.name + ".toml")
        sidecar.write_text(toml, encoding="utf-8")
        companions.append(sidecar)
    return companions


def _trouble(
    kind: Format,
    module: fx.GraphModule,
    draft: Path,
    example: torch.Tensor,
    check: Callable[[Run], str | None] | None,
) -> str | None:
    """What is wrong with the file, in a sentence; None where nothing is."""
    try:
        run = kind.load(draft)
        with torch.no_grad():
            for batch in (example, example[:1]):
                rounding, expected = _Rounding(module, batch), module(batch)
                for label, each in {"": run, **elsewhere(run)}.items():
                    reason = _differences(expected, each(batch), kind, rounding)
                    where = f" in {label}" if label else ""
                    if reason is not None:
                        return f"{reason}{where} (batch of {len(batch)})"
        return check(run) if check is not None else None
    except EquiauditError as error:
        return str(error)
    except Exception as error:  # a runtime that cannot run the file raises anything
        return f"The saved file cannot be run: {first_line(error)}"


@dataclass(frozen=True)
class _Rounding:
    """What float32 itself leaves open in a graph's outputs, computed where it is asked for."""

    module: fx.GraphModule
    batch: torch.Tensor

    def of(self, place: int, output: torch.Tensor) -> float:
        """Largest difference of an output (N, ...) from what float64 gives; 0 without one."""
        try:
            wide = all_outputs(copy.deepcopy(self.module).double()(self.batch.double()))[place]
        except RuntimeError:  # an operator that has no float64 form
            return 0.0
        return (output.double() - wide).abs().max().item()


def _differences(
    expected: Outputs, actual: Outputs, kind: Format, rounding: _Rounding
) -> str | None:
    """The first difference of the outputs in turn; the labels of the first one count."""
    ours, theirs = all_outputs(expected), all_outputs(actual)
    if len(ours) != len(theirs):
        return f"The saved file returns {len(theirs)} outputs, not {len(ours)}"
    dtypes = kind.output_dtypes or tuple(y.dtype for y in ours)
    for place, (x, y, dtype) in enumerate(zip(ours, theirs, dtypes, strict=True)):
        own = partial(rounding.of, place, x)
        reason = _difference(x, y, dtype, own, kind=kind, labelled=place == 0)
        if reason is not None:
            return reason if place == 0 else f"{reason} (output {place + 1} of {len(ours)})"
    return None


def _difference(
    expected: torch.Tensor,
    actual: torch.Tensor,
    dtype: torch.dtype,
    rounding: Callable[[], float],
    *,
    kind: Format,
    labelled: bool,
) -> str | None:
    if actual.shape != expected.shape:
        return f"The saved file returns {tuple(actual.shape)}, not {tuple(expected.shape)}"
    bit_equal = kind.bit_equal
    wide, found = expected.to(dtype).double(), actual.double()
    if torch.equal(found, wide):
        return None
    if not expected.is_floating_point():
        share = (found != wide).double().mean().item()
        same = not bit_equal and share <= _TIES
        return None if same else f"The saved file's whole numbers differ in {share:.1%} of places"
    error, spread = (found - wide).abs().max().item(), (wide.max() - wide.min()).item()
    step = torch.finfo(dtype).eps if dtype == torch.float16 else 0.0
    allowed = max(_ONNX_TOLERANCE, kind.leeway) * spread + step * wide.abs().max().item()
    if bit_equal or not (error <= allowed or error <= _LEEWAY * rounding()):
        hint = "" if bit_equal else _OTHER_ORIGIN
        share = error / spread if spread else float("inf")
        return f"The saved file differs from the graph by {share:.1e} of the output range{hint}"
    several = labelled and not kind.leeway and wide.dim() > 1 and wide.shape[1] > 1
    if several and not torch.equal(found.argmax(1), wide.argmax(1)):
        return "The saved file predicts other labels than the graph"
    return None


def placed(draft: Path, companions: Sequence[Path], folder: Path, reason: str | None) -> Saved:
    """Move the files out of the temporary folder, the one that counts last."""
    suffix = ".unverified" if reason is not None else ""
    places = [folder / (file.name + suffix) for file in (*companions, draft)]
    for file, place in zip((*companions, draft), places, strict=True):
        if place.is_dir():
            raise InputError(f"{place} is a folder.")
        file.chmod(0o666 & ~_umask())  # safetensors writes for its owner alone
        os.replace(file, place)
    *beside, main = places
    total = sum(place.stat().st_size for place in places)
    return Saved(main, tuple(beside), file_sha256(main), total, reason)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
