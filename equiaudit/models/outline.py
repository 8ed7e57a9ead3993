"""What can be told of a model before it is loaded, and so before torch is imported.

`foreseen` refuses what is wrong already: a file that is no model, settings that contradict it, a
preprocessing that nothing states. `load` begins with it, so a rule stands here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from equiaudit.errors import InputError
from equiaudit.models.architectures import refuse_without_architecture
from equiaudit.models.converted import is_converted
from equiaudit.models.folder_files import check_folder
from equiaudit.models.preprocess import Hints, PreprocessOverrides, resolve_preprocess
from equiaudit.models.runtimes import NATIVE, RUNTIMES, installed
from equiaudit.models.sniff import FileKind, sniff
from equiaudit.models.stated import (
    early_export_hints,
    early_safetensors_hints,
    early_script_hints,
)
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from torch import nn

    from equiaudit.models.onnx import OnnxFile
    from equiaudit.models.runtime_files import RuntimeFile

Backend = Literal["auto", "torch", "compile", "onnxruntime", "openvino"]
Kind = FileKind | Literal["module", "zoo", "folder"]

_ZOOS = ("torchvision:", "timm:")
_FORMS = "torchvision:NAME, timm:NAME or pkg.module:factory"
_OWN_ARCHITECTURE: dict[Kind, str] = {"zoo": "names", "folder": "names"}
_ARCHIVES = ("torchscript", "export")

_DETECTORS = ("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet", "fcos", "ssd")


@dataclass(frozen=True)
class Outline:
    """A model that was named, and what is known of it before it is loaded."""

    spec: str | Path | nn.Module
    kind: Kind
    arch: str | None = None
    trust: bool = False
    weights: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    onnx: OnnxFile | None = None
    """The graph of an ONNX file."""
    own: RuntimeFile | None = None
    """A file of a runtime's own kind."""
    hints: Hints | None = None
    """What the file says of the preprocessing; None where only loading tells."""

    @property
    def path(self) -> Path | None:
        """The file or folder."""
        return None if self.kind in ("module", "zoo") else Path(str(self.spec))

    @property
    def name(self) -> str:
        """As results have it, of a file."""
        return str(self.spec) if self.path is None else self.path.name

    def check_backend(self, backend: str) -> None:
        """InputError where `backend` cannot run such a model."""
        engine_for(backend, self.name, kind=self.kind, eager=self.kind not in _ARCHIVES)

    def check_preprocess(self, overrides: PreprocessOverrides, *, normalisation: bool) -> None:
        """InputError where nothing states what images are to become, if that can be told."""
        if self.hints is not None:
            resolve_preprocess(
                overrides,
                model=self.path,
                name=self.name,
                hints=self.hints,
                normalisation=normalisation and not self._may_normalise,
            )

    @property
    def _may_normalise(self) -> bool:
        """It may be a detector of torchvision, to which mean and std are no matter."""
        zoo, _, name = (self.arch or "").partition(":")
        return self.kind == "module" or (zoo == "torchvision" and name.startswith(_DETECTORS))


def foreseen(
    spec: str | Path | nn.Module,
    *,
    arch: str | None = None,
    trust: bool = False,
    weights: str | None = None,
    backend: str = "auto",
    task: str = "auto",
    preprocess: PreprocessOverrides | None = None,
    normalisation: bool = True,
    inputs: Mapping[str, str] | None = None,
) -> Outline:
    """The outline of `spec`; InputError for all that is wrong with it and the settings by then."""
    if task != "auto":
        TASKS.named(task)
    found = outlined(spec, arch=arch, trust=trust, weights=weights, inputs=inputs)
    found.check_backend(backend)
    found.check_preprocess(preprocess or PreprocessOverrides(), normalisation=normalisation)
    return found


def outlined(
    spec: str | Path | nn.Module,
    *,
    arch: str | None = None,
    trust: bool = False,
    weights: str | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Outline:
    """What `spec` names; InputError where it is no model, or the settings do not fit its kind."""
    kind, inputs = _kind(spec), inputs or {}
    if inputs and kind not in NATIVE:
        raise InputError("--input gives values to inputs of ONNX files, which this model is not.")
    if isinstance(spec, str | Path):
        _check_settings(spec, kind, arch, weights)
        if arch is None and weights is None and not trust and _is_bare(spec, kind):
            refuse_without_architecture(Path(spec), kind)
    outline = Outline(spec, kind, arch, trust, weights, inputs)
    if kind == "onnx":
        from equiaudit.models.onnx import open_onnx

        opened = open_onnx(Path(str(spec)), inputs)
        return Outline(spec, kind, inputs=inputs, onnx=opened, hints=opened.hints)
    if kind == "openvino":
        from equiaudit.models.openvino_ir import open_ir

        own = open_ir(Path(str(spec)), inputs)
        return Outline(spec, kind, inputs=inputs, own=own, hints=own.hints)
    return Outline(spec, kind, arch, trust, weights, inputs, hints=_hints(outline))


def engine_for(backend: str, name: str, *, kind: str, eager: bool) -> str:
    """The backend that "auto" means for a model; InputError where the asked one cannot run it."""
    native = NATIVE.get(kind, "torch")
    if backend not in ("auto", "torch", "compile", *RUNTIMES):
        raise InputError(
            f"Unknown backend {backend!r}.",
            tip=f"Use auto, torch, compile or {', '.join(RUNTIMES)}.",
        )
    engine = native if backend == "auto" else backend
    if engine == "compile" and not eager:
        raise InputError(
            f"{name} is an archive; the backend 'compile' needs a module of Python code.",
            tip="Use --backend torch, or weights with --arch.",
        )
    of_onnx = native == "torch" and engine in RUNTIMES and "onnx" in RUNTIMES[engine].reads
    own = engine in RUNTIMES and kind in RUNTIMES[engine].reads
    if engine in ("torch", "compile") and native == "torch":
        return engine
    if not own and not of_onnx:
        raise _not_for(engine, native, name, kind)
    installed(engine)
    return engine


def _not_for(engine: str, native: str, name: str, kind: str) -> InputError:
    what = {"onnx": "an ONNX model"}.get(kind, f"a model of {kind}")
    others = [n for n, r in RUNTIMES.items() if kind in r.reads]
    tip = RUNTIMES[engine].tip if engine in RUNTIMES else f"Use --backend {' or '.join(others)}."
    return InputError(f"{name} is {what}; the backend {engine!r} cannot run it.", tip=tip)


def architecture(arch: str) -> tuple[str, str]:
    """What `--arch` names: a zoo or a module, and what of it; InputError where it names none."""
    source, _, name = arch.partition(":")
    if not name:
        raise InputError(f"--arch {arch!r} is not an architecture.", tip=f"Write {_FORMS}.")
    return source, name


def needs_arch(spec: str | Path) -> bool:
    """Whether `spec` is a file of bare weights, which belong to an architecture."""
    return _is_bare(spec, _kind(str(spec)))


def _is_bare(spec: str | Path, kind: Kind) -> bool:
    return kind in ("checkpoint", "safetensors") and not is_converted(Path(spec))


def _kind(spec: str | Path | nn.Module) -> Kind:
    if not isinstance(spec, str | Path):
        return "module"
    if isinstance(spec, str) and spec.startswith(_ZOOS):
        return "zoo"
    path = Path(spec)
    return "folder" if path.is_dir() else sniff(path)


def _check_settings(spec: str | Path, kind: Kind, arch: str | None, weights: str | None) -> None:
    if weights is not None and not _is_bare(spec, kind):
        raise InputError(f"{spec} holds one set of weights.", tip="Leave --weights out.")
    if arch is not None and kind not in ("checkpoint", "safetensors"):
        has = _OWN_ARCHITECTURE.get(kind, "carries")
        named = spec if kind == "zoo" else Path(spec)
        raise InputError(f"{named} {has} its own architecture.", tip="Leave --arch out.")
    if arch is not None:
        architecture(arch)
    if kind == "folder":
        check_folder(Path(spec))


def _hints(outline: Outline) -> Hints | None:
    """Where a module may be pickled, or weights lack an architecture, loading comes first."""
    path = outline.path
    if path is None or outline.kind == "folder":
        return None
    if outline.kind == "torchscript":
        return early_script_hints(path)
    if outline.kind == "export":
        return early_export_hints(path)
    if outline.arch is None and not is_converted(path):
        return None
    if outline.kind == "safetensors":
        return early_safetensors_hints(path)
    return None if outline.trust else Hints()
