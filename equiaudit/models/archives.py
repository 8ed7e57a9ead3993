"""What a `torch.export` or TorchScript archive may hold before torch is asked to load it.

`torch.export.load` unpickles some members without restriction, evaluates symbolic expressions
as Python and pastes names of the graph into code it compiles. TorchScript calls no Python, but
its code can write and read files. `check_export_archive` and `check_torchscript_archive`
refuse what goes beyond tensors and a graph of operators. Members are read with torch's own
reader, so what is checked is what will be loaded.
"""

from __future__ import annotations

import ast
import io
import json
import re
from typing import Any

from equiaudit.errors import InputError
from equiaudit.models.checkpoint import load_weights_only
from equiaudit.models.pickles import check_pickle
from equiaudit.models.script_code import check_script_classes, check_script_code
from equiaudit.torch_private import archive_reader

_TRUST = "Pass --trust if you trust its author."
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|higher_order|quantized_decomposed)\.\w+(\.\w+)?"
    r"|torch\.sym_\w+|torch\._sym_\w+|math\.(?:ceil|floor|trunc|pow|sqrt)"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pos|pow|eq|ne|lt|le|gt|ge|and_|or_"
    r"|not_|lshift|rshift|getitem)"
)
_FILE_OPERATORS = re.compile(r"torch\.ops\.aten\.(from_file|save|load|_print)\b")
_WORD = re.compile(r"[\w.:+<>\-]*")
_SYMBOL = re.compile(r"\w+")
_FUNCTIONS = frozenset(
    {"Symbol", "Integer", "Add", "Mul", "Pow", "Max", "Min", "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
     "And", "Or", "Not", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv",
     "CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow",
     "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal",
     "ToFloat", "Identity"}
)  # fmt: skip
_EXPRESSION_NODES = (
    ast.Expression, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Call,
    ast.keyword, ast.Constant, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
_LARGEST_EXPRESSION = 2_000  # characters; what is longer, or grows faster, may keep sympy for ever
_LARGEST_EXPONENT = 64
_MOST_ARGUMENTS = 32
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift"})
_WIDTHS: dict[object, int] = {
    f"torch.{name}Storage".encode(): width
    for width, names in {
        1: "Byte Char Bool QInt8 QUInt8 QUInt4x2 QUInt2x4 Untyped",
        2: "Short Half BFloat16",
        4: "Int Float QInt32 ComplexHalf",
        8: "Long Double ComplexFloat",
        16: "ComplexDouble",
    }.items()
    for name in names.split()
}
_OPERATOR_KEYS = frozenset({"target", "as_operator"})
_TENSOR_FILES = ("weight_", "tensor_")
# Text that is only ever printed, repr'd or parsed as JSON data.
_FREE_TEXT = frozenset({"metadata", "guards_code", "as_string"})
_TREES = frozenset({"in_spec", "out_spec"})
_TREE_IMPORTS = ("default_factory_module", "__enum__")


def check_torchscript_archive(archive: bytes, *, what: str) -> None:
    """Raises InputError where the code of a TorchScript archive does more than compute."""
    reader = archive_reader(io.BytesIO(archive))
    for name in reader.get_all_records():
        folded = name.lower()  # torch's reader finds members in any case
        if folded == "model.json":
            raise InputError(
                f"{what} is an archive of torch 1.0, whose code was not checked nor loaded.",
                tip=_TRUST,
            )
        if folded.startswith("code/") and folded.endswith(".py"):
            check_script_code(_text(reader, name), what=what)
        elif folded.endswith(".pkl"):
            # torch's C++ unpickler takes the lengths and the depth that are stated on trust.
            found = check_pickle(
                bytes(reader.get_record(name)), what=f"{what} ({name})", whole=True
            )
            if folded in ("data.pkl", "constants.pkl"):  # what else there is torch does not load
                _check_storages(reader, name, found.storages, what)
            check_script_classes(_text(reader, name), what=what)


def _check_storages(reader: Any, name: str, storages: list[tuple[object, ...]], what: str) -> None:
    """Raises InputError where a tensor has more elements than its member of the archive.

    torch's C++ loader does not look, and reads what lies behind it in memory.
    """
    held: dict[object, int] = {}
    for place in storages:
        _, kind, key, _, count = (*place, *[None] * 5)[:5]
        width = _WIDTHS.get(kind)
        if not isinstance(key, bytes) or not isinstance(count, int) or width is None:
            raise InputError(f"{what} ({name}) has a tensor of a kind that is not read.")
        if key not in held:
            held[key] = len(reader.get_record(f"{name[: -len('.pkl')]}/{key.decode()}"))
        if not 0 <= count * width <= held[key]:
            raise InputError(
                f"{what} ({name}) has a tensor of {count:,} elements in {held[key]:,} bytes.",
                tip="Copy or download it again.",
            )


def _text(reader: Any, name: str) -> str:
    return bytes(reader.get_record(name)).decode(errors="replace")


def check_export_archive(archive: bytes, *, what: str) -> None:
    """Raises InputError where loading or running a .pt2 archive could run code it carries."""
    reader = archive_reader(io.BytesIO(archive))
    for name in reader.get_all_records():
        # torch's reader finds members in any case, so that no check may depend on it.
        if name != name.lower() and not name.startswith("extra/"):
            raise _suspicious(name, what)
        if name.startswith("data/aotinductor/"):
            raise InputError(f"{what} carries compiled code and was not loaded.", tip=_TRUST)
        if name.startswith("models/") or name.endswith(".json"):
            content = json.loads(bytes(reader.get_record(name)))
            _check_json(content, what)
            for member in _pickled_payloads(name, content, what):
                _check_pickle(reader, member, what)
        elif name.startswith("data/") and name.endswith(".pt"):
            _check_pickle(reader, name, what)


def _pickled_payloads(name: str, content: Any, what: str) -> list[str]:
    """The members that a weights or constants config has torch unpickle."""
    if not name.endswith("_config.json") or not isinstance(content.get("config"), dict):
        return []
    folder = name.rpartition("/")[0]
    payloads = list(content["config"].values())
    if any(not item["path_name"].startswith(_TENSOR_FILES) for item in payloads):
        raise InputError(f"{what} carries Python objects and was not loaded.", tip=_TRUST)
    return [f"{folder}/{item['path_name']}" for item in payloads if item["use_pickle"]]


def _check_pickle(reader: Any, name: str, what: str) -> None:
    member = bytes(reader.get_record(name))
    if member:
        load_weights_only(member, what=f"{what} ({name})")


def _check_json(value: Any, what: str, key: str = "") -> None:
    if key in _FREE_TEXT:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            if key == "range_constraints":
                _check_expression(name, what)
            elif not _WORD.fullmatch(name):
                raise _suspicious(name, what)
            _check_json(item, what, name)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, what, key)
    elif isinstance(value, str):
        _check_text(value, key, what)


def _check_text(text: str, key: str, what: str) -> None:
    if key == "expr_str":
        _check_expression(text, what)
    elif key in _OPERATOR_KEYS:
        if not _OPERATOR.fullmatch(text) or _FILE_OPERATORS.match(text):
            raise _suspicious(text, what)
    elif key in _TREES:
        if any(word in text for word in _TREE_IMPORTS):
            raise _suspicious(text, what)
    elif not _WORD.fullmatch(text):
        raise _suspicious(text, what)


def _check_expression(text: str, what: str) -> None:
    """Arithmetic on symbols with the functions torch knows; nothing that reaches Python."""
    try:
        tree = ast.parse(text[: _LARGEST_EXPRESSION + 1], mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _suspicious(text, what) from error
    nodes = list(ast.walk(tree))
    powers = [node for node in nodes if _is_power(node)]
    known = all(_is_arithmetic(node) for node in nodes) and all(_is_small(p) for p in powers)
    if not known or len(text) > _LARGEST_EXPRESSION:
        raise _suspicious(text, what)


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        few = len(node.args) <= _MOST_ARGUMENTS
        return few and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _SYMBOL.fullmatch(node.value) is not None
    return isinstance(node, _EXPRESSION_NODES)


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Pow | ast.LShift)
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in _POWERS


def _is_small(power: ast.AST) -> bool:
    """Whether a power has a small number for its exponent and no other power inside."""
    *inner, exponent = ast.iter_child_nodes(power)
    if isinstance(exponent, ast.Call) and getattr(exponent.func, "id", "") == "Integer":
        exponent = exponent.args[0] if len(exponent.args) == 1 else exponent
    if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub):
        exponent = exponent.operand
    if not isinstance(exponent, ast.Constant) or not isinstance(exponent.value, int | float):
        return False
    nested = any(_is_power(node) for child in inner for node in ast.walk(child))
    return exponent.value <= _LARGEST_EXPONENT and not nested


def _suspicious(text: str, what: str) -> InputError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return InputError(
        f"{what} has {shown!r} where a graph of operators has none, and was not loaded.",
        tip=_TRUST,
    )
