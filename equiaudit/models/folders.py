"""Folders that a framework's `save_pretrained` wrote: a net by name, its weights, its settings.

transformers, timm and segmentation_models_pytorch build the net from `config.json`; nothing is
fetched and no code of the folder runs. MONAI bundles hold a TorchScript file. The weights have to
be whole, as in a checkpoint.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from equiaudit.errors import InputError, first_line
from equiaudit.models.artefact import Artefact
from equiaudit.models.checkpoint import read_checkpoint, read_safetensors
from equiaudit.models.fitting import fit_weights
from equiaudit.models.folder_files import BUNDLE, check_folder, read_json
from equiaudit.models.hashing import file_sha256
from equiaudit.models.preprocess import Hints
from equiaudit.models.processors import (
    albumentations_hints,
    smp_hints,
    timm_hints,
    transformers_hints,
)
from equiaudit.models.weights import found_weights

_MOST = 1 << 24  # that a number in a config may state
_MOST_LAYERS = 2000
_LAYERS = ("layer", "depth", "block", "stage")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_NOT_OPTIONS = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
     "num_classes", "scriptable", "exportable", "no_jit"}
)  # fmt: skip


def load_folder(path: Path) -> Artefact:
    """The model in a folder, in eval mode.

    Raises InputError where no framework that is read here wrote it, its weights are not whole,
    or the framework is not installed.
    """
    check_folder(path)
    if (path / BUNDLE).is_file():
        return _bundle(path)
    config = read_json(path / "config.json")
    _check_numbers(config, path)
    read = _reader(config)
    if read is None:
        raise InputError(
            f"{path} is a folder whose config.json names no net.", tip="Give a model file."
        )
    with _offline():
        return read(path, config)


def _reader(config: dict[str, Any]) -> Callable[[Path, dict[str, Any]], Artefact] | None:
    if "_model_class" in config and "encoder_name" in config:
        return _segmentation_models
    if isinstance(config.get("architecture"), str):
        return _timm
    if isinstance(config.get("architectures"), list) or "model_type" in config:
        return _transformers
    return None


def _check_numbers(value: Any, path: Path, key: str = "") -> None:
    """The net is built before its weights are compared: nothing in it may be of any size."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(item, path, str(name))
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item, path, key)
    elif isinstance(value, int):
        most = _MOST_LAYERS if any(word in key for word in _LAYERS) else _MOST
        if abs(value) > most and not key.endswith("_id"):
            raise InputError(f"config.json of {path} states {key} {value:,}; no net has that.")


def _imported(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"This folder was written by {name}, which is not installed.",
            tip=f"pip install 'equiaudit[{extra}]'",
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Whatever a config says, nothing is fetched."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        constants = None
    stated = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:
        constants.HF_HUB_OFFLINE = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if constants is not None:
            constants.HF_HUB_OFFLINE = stated
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _built(build: Callable[[], nn.Module], what: str) -> nn.Module:
    try:
        return build()
    except Exception as error:  # a config can ask for anything
        raise InputError(f"{what} cannot be built: {first_line(error)}.") from error


def _weights_file(path: Path) -> Path:
    found = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if found is None:
        raise InputError(f"{path} holds no weights ({' or '.join(_WEIGHTS)}).")
    return found


def _filled(path: Path, module: nn.Module, hints: Hints, arch: str) -> Artefact:
    """`module` with the weights of the folder, which have to be whole."""
    file = _weights_file(path)
    saved: Any
    if file.suffix == ".safetensors":
        saved, _ = read_safetensors(file)
    else:
        saved = read_checkpoint(file, trust=False).value
    found = found_weights(saved, what=str(file))
    _, notes = fit_weights(module, found, saved=saved, wanted=None, what=str(file), arch=arch)
    return _artefact(path, module, hints, (file, path / "config.json"), notes)


def _artefact(
    path: Path,
    module: nn.Module,
    hints: Hints,
    files: tuple[Path, ...],
    notes: tuple[str, ...],
    names: tuple[str, ...] | None = None,
) -> Artefact:
    return Artefact(
        name=path.resolve().name,
        kind="state_dict",
        sha256=file_sha256(files[0], files[1:]),
        path=path,
        module=module.eval(),
        eager=True,
        hints=hints,
        notes=("put in eval mode", *notes),
        class_names=names,
    )


def _timm(path: Path, config: dict[str, Any]) -> Artefact:
    timm = _imported("timm", "timm")
    name = config["architecture"]
    if name not in timm.list_models():
        raise InputError(f"{path}: timm {timm.__version__} has no model {name[:60]!r}.")
    stated = config.get("model_args") or {}
    options = {key: item for key, item in stated.items() if key not in _NOT_OPTIONS}
    cfg = config.get("pretrained_cfg") or {}
    classes = config.get("num_classes", cfg.get("num_classes"))
    if isinstance(classes, int):
        options["num_classes"] = classes
    if isinstance(config.get("global_pool"), str):
        options.setdefault("global_pool", config["global_pool"])
    module = _built(lambda: timm.create_model(name, pretrained=False, **options), f"timm:{name}")
    known = {**(getattr(module, "pretrained_cfg", None) or {}), **cfg}
    read = _filled(path, module, timm_hints(known, "pretrained_cfg in config.json"), f"timm:{name}")
    labels = config.get("label_names")
    return replace(read, class_names=tuple(map(str, labels)) if isinstance(labels, list) else None)


def _segmentation_models(path: Path, config: dict[str, Any]) -> Artefact:
    smp = _imported("segmentation_models_pytorch", "smp")
    name, encoder = str(config["_model_class"]), config.get("encoder_weights")
    net = getattr(smp, name, None)
    if not isinstance(net, type) or not issubclass(net, nn.Module):
        raise InputError(f"{path}: segmentation_models_pytorch has no net {name[:60]!r}.")
    options = {key: item for key, item in config.items() if not key.startswith("_")}
    options["encoder_weights"] = None
    module = _built(lambda: net(**options), f"segmentation_models_pytorch.{name}")
    hints = albumentations_hints(path) or smp_hints(smp, str(config["encoder_name"]), encoder)
    return _filled(path, module, hints, f"segmentation_models_pytorch.{name}")


def _transformers(path: Path, config: dict[str, Any]) -> Artefact:
    from equiaudit.models.hugging_face import load_pretrained

    transformers = _imported("transformers", "transformers")
    module, files, notes = load_pretrained(transformers, path, config)
    hints = transformers_hints(path)
    return _artefact(path, module, hints, files, notes, _labels(config))


def _labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of classes 0, 1, ..., unless they are transformers' own LABEL_0, LABEL_1, ..."""
    stated = config.get("id2label")
    if not isinstance(stated, dict):
        return None
    names = [stated.get(str(index)) for index in range(len(stated))]
    own = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return None if own or not all(isinstance(n, str) for n in names) else tuple(map(str, names))


def _bundle(path: Path) -> Artefact:
    """The TorchScript file of a MONAI bundle; its configs are programs, and are not run."""
    script = path / "models" / "model.ts"
    if not script.is_file():
        raise InputError(
            f"{path} is a MONAI bundle without models/model.ts.",
            tip="Give models/model.pt with --arch, or export it with monai.bundle ckpt_export.",
        )
    from equiaudit.models.torchscript import load_torchscript

    read = load_torchscript(script, trust=False)
    if _takes_volumes(read_json(path / BUNDLE)):
        raise InputError(f"{path} takes volumes, and only images of two dimensions are read.")
    note = "models/model.ts of a MONAI bundle; its transforms are programs and were not run"
    return replace(read, name=path.resolve().name, notes=(*read.notes, note))


def _takes_volumes(metadata: Any) -> bool:
    for key in ("network_data_format", "inputs"):
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    inputs = list(metadata.values()) if isinstance(metadata, dict) else []
    shapes = [each.get("spatial_shape") for each in inputs if isinstance(each, dict)]
    return any(isinstance(shape, list) and len(shape) == 3 for shape in shapes)
