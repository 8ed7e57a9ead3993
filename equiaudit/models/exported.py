"""Archives of `torch.export` (.pt2)."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from equiaudit.errors import InputError
from equiaudit.models.archives import check_export_archive
from equiaudit.models.artefact import Artefact
from equiaudit.models.hashing import file_sha256
from equiaudit.models.stated import export_hints, names_beside
from equiaudit.models.torch_input import Wrapped
from equiaudit.torch_private import (
    archive_reader,
    export_schema,
    know_integer_operators,
    operator_name,
)

# The name and the position of the training flag among the operator's arguments.
_MODE_ARGUMENT = {
    "batch_norm": ("training", 5),
    "native_batch_norm": ("training", 5),
    "_native_batch_norm_legit": ("training", 5),
    "dropout": ("train", 2),
    "native_dropout": ("train", 2),
    "feature_dropout": ("train", 2),
}


def load_exported(path: Path, *, trust: bool) -> Artefact:
    """The exported program at `path` as a module on the CPU.

    Raises InputError where the archive is damaged, carries code, or was exported in training
    mode, or where its program does not take one image batch.
    """
    archive = path.read_bytes()
    program = _on_the_cpu(_program(archive, path, trust=trust))
    refuse_training_graph(program.graph, str(path))
    image = _input(program, path)
    shape = tuple(side if isinstance(side, int) else None for side in image.shape)
    return Artefact(
        name=path.name,
        kind="export",
        sha256=file_sha256(path),
        path=path,
        # The guards are text in the archive that torch would compile as Python.
        module=_positional(program, program.module(check_guards=False)),
        hints=export_hints(path, shape),
        class_names=names_beside(path),
        fixed_batch=shape[0],
        trusted=trust,
        takes=image.dtype,
        notes=("exported in eval mode", *_newer_schema(archive)),
    )


def _on_the_cpu(program: ExportedProgram) -> ExportedProgram:
    """A program exported on a GPU makes its constants there: they are made on the CPU."""
    values = [node.meta.get("val") for node in program.graph.nodes]
    devices = {value.device.type for value in values if isinstance(value, torch.Tensor)}
    if devices <= {"cpu", "meta"}:
        return program
    moved: ExportedProgram = move_to_device_pass(program, "cpu")
    return moved


class _ByKeyword(Wrapped):
    """Calls a program that takes its image by a name."""

    def __init__(self, inner: nn.Module, name: str) -> None:
        super().__init__()
        self.inner, self.name = inner, name

    def forward(self, image: torch.Tensor) -> Any:
        return self.inner(**{self.name: image})


def _positional(program: ExportedProgram, module: nn.Module) -> nn.Module:
    """`module` as a function of one image, whatever way it was exported by."""
    spec = program.call_spec.in_spec
    arguments, keywords = spec.children() if spec is not None else (None, None)
    if arguments is None or keywords is None or arguments.num_leaves:
        return module
    name = next(n for n, leaf in zip(keywords.context, keywords.children(), strict=True)
                if leaf.num_leaves)  # fmt: skip
    return _ByKeyword(module, str(name))


def _newer_schema(archive: bytes) -> tuple[str, ...]:
    """Said where the archive is of a newer minor schema, whose new fields torch passes over."""
    reader = archive_reader(io.BytesIO(archive))
    known = export_schema()
    for name in reader.get_all_records():
        if name.startswith("models/") and name.endswith(".json"):
            stated = json.loads(bytes(reader.get_record(name))).get("schema_version", {})
            if stated.get("major") == known[0] and stated.get("minor", 0) > known[1]:
                return (
                    f"the archive is of export schema {known[0]}.{stated['minor']}; torch"
                    f" {torch.__version__} knows {known[0]}.{known[1]} and passes over what is new",
                )
    return ()


def _program(archive: bytes, path: Path, *, trust: bool) -> ExportedProgram:
    try:
        if not trust:
            check_export_archive(archive, what=str(path))
        if b"quantized_decomposed" in archive:
            know_integer_operators()
        with _quiet():
            return torch.export.load(io.BytesIO(archive))
    except InputError:
        raise
    except Exception as error:  # a graph that is not one raises nearly anything
        raise InputError(
            f"{path} is a damaged .pt2 archive, or one of another version of torch.",
            tip="Copy it again, or export it again with this version.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """torch logs a traceback before it raises; the error says enough."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def refuse_training_graph(graph: torch.fx.Graph, what: str) -> None:
    """Raises InputError where an operator of an exported graph is fixed to training."""
    for node in graph.nodes:
        if node.op == "call_function" and _in_training(node):
            raise InputError(
                f"{what} was exported in training mode ({node.name} is fixed to training).",
                tip="Call model.eval() and export it again.",
            )


def _in_training(node: torch.fx.Node) -> bool:
    name = operator_name(node.target)
    if name not in _MODE_ARGUMENT:
        return False
    keyword, position = _MODE_ARGUMENT[name]
    flag = node.kwargs.get(keyword, node.args[position] if len(node.args) > position else False)
    return flag is True


def _input(program: ExportedProgram, path: Path) -> torch.Tensor:
    """The one image input, without data; its axes are symbols where they are dynamic."""
    users = set(program.graph_signature.user_inputs)
    inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in users]
    values: list[Any] = [node.meta.get("val") for node in inputs]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor) or values[0].dim() != 4:
        shapes = [tuple(v.shape) if isinstance(v, torch.Tensor) else v for v in values]
        raise InputError(
            f"{path} does not take one 4-D batch of images as its only input, but"
            f" {', '.join(map(str, shapes)) or 'nothing'}."
        )
    return values[0]
