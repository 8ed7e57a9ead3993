"""What the code of a TorchScript archive may call.

TorchScript calls no Python, but operators that write and read files are within its reach, and
an object's `__setstate__` runs when the archive is loaded. So the code is read before torch
sees it. It is a subset of Python's grammar: names are looked up in its syntax tree, where
neither spaces nor comments hide them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from equiaudit.errors import InputError

_TRUST = "Pass --trust if you trust its author."
_FILES = frozenset({"from_file", "save", "load", "read_file", "write_file"})
_CALLS_OUT = frozenset({"_print", "rpc_async", "rpc_sync", "rpc_remote"})
_BARE_NAMES = frozenset({"rpc_async", "rpc_sync", "rpc_remote"})
_OPERATORS = frozenset(
    {"aten", "prim", "prims", "quantized", "_quantized", "quantization", "torchvision", "mkldnn",
     "mkldnn_prepacked", "onednn", "prepacked", "sparse", "profiler"}
)  # fmt: skip
# What packs weights; other classes of torch's own open sockets and shared libraries.
_CLASSES = frozenset({"quantized", "rnn", "sparse", "xnnpack", "mkldnn"})
# The two words of a class in a pickle are parted anywhere.
_CLASS = re.compile(r"__torch__[.\n]torch[.\n]classes[.\n](\w+)")


def check_script_code(text: str, *, what: str) -> None:
    """Raises InputError naming the operator where code reads or writes files, or calls out.

    `what` names the file. Code that cannot be read as Python is refused too.
    """
    check_script_classes(text, what=what)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{what} has code that cannot be checked and was not loaded.", tip=_TRUST
        ) from error
    for name in _refused(tree):
        does = "reads or writes files" if name.rpartition(".")[2] in _FILES else "calls out"
        raise InputError(f"{what} {does} ({name}) and was not loaded.", tip=_TRUST)


def check_script_classes(text: str, *, what: str) -> None:
    """Raises InputError where code or a pickle names a class of torch that packs no weights."""
    for found in _CLASS.finditer(text):
        if found[1] not in _CLASSES:
            raise InputError(
                f"{what} uses torch.classes.{found[1]} and was not loaded.", tip=_TRUST
            )


def _refused(tree: ast.AST) -> Iterator[str]:
    """The names that must not be there, as they are written.

    `torch` and `ops` may only stand before a dot: given another name, or to `getattr`, they
    would give access to every operator under names that cannot be read.
    """
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            bare = node.id in ("torch", "ops") and id(node) not in inner
            if bare or node.id in _BARE_NAMES:
                yield node.id
        elif isinstance(node, ast.Attribute):
            yield from _refused_operator(node, read_on=id(node) in inner)


def _refused_operator(node: ast.Attribute, *, read_on: bool) -> Iterator[str]:
    """`torch.NAME` and `ops.SPACE.NAME`; `read_on` where another dot follows."""
    base = node.value
    if isinstance(base, ast.Name) and base.id == "torch" and node.attr in _FILES | _CALLS_OUT:
        yield f"torch.{node.attr}"
    elif isinstance(base, ast.Name) and base.id == "ops" and not read_on:
        yield f"ops.{node.attr}"
    elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
        known = base.attr in _OPERATORS and node.attr not in _FILES | _CALLS_OUT
        if base.value.id == "ops" and not known:
            yield f"ops.{base.attr}.{node.attr}"
