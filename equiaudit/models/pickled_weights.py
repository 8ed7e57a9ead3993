"""The weights in a checkpoint by name and shape, read off its pickle, which nobody unpickles."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from equiaudit.models.pickles import Built, Leaf, Node, placeholders
from equiaudit.models.zips import is_zip, member_bytes

Shapes = Mapping[str, tuple[int, ...]]

DEEPEST = 8
"""Of the dicts of a checkpoint that are looked into."""
NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|param_groups|hyper_parameters|hparams|message_hub"
    r"|^(?:amp|loops|args|cfg|config|meta|metrics|rng.*)$"
)
_LARGEST = 8 << 20  # bytes of names and shapes
_LEGACY_HEAD = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The first of the pickles of a file from before torch 1.6: a magic number."""
_BEFORE = 3
"""Pickles of such a file in front of what was saved."""
_REBUILT = (b"torch._utils._rebuild_tensor", b"torch._utils._rebuild_tensor_v2")
_PARAMETER = b"torch._utils._rebuild_parameter"
_DICT = b"collections.OrderedDict"
_STORAGE = re.compile(r"torch\.\w+Storage")
# What is written beside weights and stands for none.
_BESIDE = ("argparse.Namespace", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
           "numpy.dtype", "_codecs.encode")  # fmt: skip
_KNOWN = frozenset({*_BESIDE, *(name.decode() for name in (*_REBUILT, _PARAMETER, _DICT))})


@dataclass(frozen=True)
class Pickled:
    """What a checkpoint holds, as far as that is plain."""

    states: tuple[Shapes, ...]
    """Its sets of weights, those of optimizers apart."""
    arch: str | None
    """What it says beside them, under "arch"."""


def pickled_weights(path: Path) -> Pickled | None:
    """Of a checkpoint of dicts, numbers, texts and tensors; None of any that holds something else.

    Raises LookupError, ValueError, OSError or InputError where it is damaged or hostile.
    """
    built = _opened(path)
    if built is None or any(not _is_known(name) for name in built.names):
        return None
    saved = _Reader(built).value(built.value)
    if not isinstance(saved, dict):
        return None
    arch = saved.get("arch")
    found = tuple(_states(saved, 0, set()))
    return Pickled(found, arch.decode(errors="replace") if isinstance(arch, bytes) else None)


def _opened(path: Path) -> Built | None:
    with path.open("rb") as file:
        if is_zip(file.read(4)):
            pickled = member_bytes(path, "data.pkl", _LARGEST)
            return None if pickled is None else placeholders(pickled, what=str(path))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[: len(_LEGACY_HEAD)] != _LEGACY_HEAD:
                return None
            return placeholders(content, what=str(path), before=_BEFORE)


def _is_known(name: str) -> bool:
    return name in _KNOWN or _STORAGE.fullmatch(name) is not None


class _Reader:
    """Placeholders as what they stand for."""

    def __init__(self, built: Built) -> None:
        self._added, self._dicts = built.added, built.dicts
        self._read: dict[int, object] = {}

    def value(self, item: Leaf | Node) -> object:
        """A dict, the sides of a tensor as a tuple, the bytes of a text; None of anything else."""
        if isinstance(item, Leaf):
            return item.value
        if id(item) not in self._read:
            is_dict = id(item) in self._dicts or _made_by(item) == _DICT
            self._read[id(item)] = self._dict(item) if is_dict else _sides(item)
        return self._read[id(item)]

    def _dict(self, node: Node) -> dict[object, object]:
        if node.arguments and _node(node.arguments[1:2]).size:
            raise ValueError("a dict that is made of a list of pairs")
        items = self._added.get(id(node), [])
        pairs = zip(items[::2], items[1::2], strict=False)
        return {_key(key): self.value(value) for key, value in pairs}


def _key(key: Leaf | Node) -> object:
    """A text as one; whatever else as something that is none."""
    value = key.value if isinstance(key, Leaf) else None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _made_by(node: Node) -> object:
    function = node.arguments[0] if node.arguments else None
    return function.value if isinstance(function, Leaf) else None


def _sides(node: Node) -> tuple[int, ...] | None:
    """Of the call that rebuilds a tensor; None of anything else, ValueError where it is not plain.

    Of a call the first five arguments are known, and so many sides.
    """
    maker = _made_by(node)
    if maker not in (*_REBUILT, _PARAMETER):
        return None
    arguments = node.arguments[1].arguments if isinstance(node.arguments[1], Node) else []
    if maker == _PARAMETER:
        return _sides(_node(arguments[:1]))
    size = _node(arguments[2:3])
    sides = [side.value for side in size.arguments if isinstance(side, Leaf)]
    whole = tuple(side for side in sides if isinstance(side, int))
    if len(whole) != size.size:
        raise ValueError("a tensor of more sides than are known")
    return whole


def _node(found: list[Leaf | Node]) -> Node:
    (only,) = found
    if not isinstance(only, Node):
        raise ValueError("a tensor that is made of no parts")
    return only


def _states(value: dict[object, object], depth: int, seen: set[int]) -> Iterator[Shapes]:
    """As `weights.found_weights` looks for them."""
    if value and all(isinstance(k, str) and isinstance(v, tuple) for k, v in value.items()):
        yield {str(name): shape for name, shape in value.items() if isinstance(shape, tuple)}
        return
    if "param_groups" in value or depth >= DEEPEST:
        return
    for key, inner in value.items():
        named = isinstance(key, str) and not NOT_WEIGHTS.search(key.lower())
        if named and isinstance(inner, dict) and id(inner) not in seen:
            seen.add(id(inner))
            yield from _states(inner, depth + 1, seen)
