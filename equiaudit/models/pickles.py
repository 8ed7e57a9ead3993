"""What a pickle would build, read off its opcodes before anything unpickles it.

A pickle is a program for a stack machine. That it may call no code does not bound it: a few
hundred bytes describe tuples whose hash takes years, or a buffer larger than any memory.
`check_pickle` runs the program on placeholders, which cost the same whatever they stand for,
and refuses what no file of weights needs.

The opcodes are those of `pickletools` in Python's standard library that torch's two unpicklers
know; at any other both stop, and so does the check.
"""

from __future__ import annotations

import gc
import mmap
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from equiaudit.errors import InputError

MOST_STEPS = 2_000_000
"""Opcodes of one pickle; a checkpoint takes about 50 for each tensor."""

_DEEPEST = 200
_LARGEST = 16_000_000  # items, counted again wherever one is reached again
_CODECS = (b"latin1", b"latin-1", b"utf-8", b"utf8", b"ascii")
_TYPE_TAG = "torch.jit._pickle.restore_type_tag"
_TYPE = re.compile(rb"[\w.,\[\] ]*")
# Callables that make as many bytes as a number says.
_ALLOCATING = ("bytearray", "Tensor", "Storage")

Content = bytes | mmap.mmap


@dataclass(frozen=True)
class Checked:
    """What `check_pickle` found in a pickle that may be loaded."""

    end: int
    """Where it ends."""
    steps: int
    """What is left of the steps."""
    storages: list[tuple[object, ...]]
    """Its persistent ids: what each tuple holds, None for what is no number, text or name."""
    names: frozenset[str]
    """The classes and functions it names."""


@dataclass(frozen=True)
class Built:
    """What a pickle builds, of placeholders."""

    value: Leaf | Node
    added: Mapping[int, Sequence[Leaf | Node]]
    """id of a node -> what was put into it: of a dict, keys and values in turn."""
    dicts: Set[int]
    """The ids of those that began as an empty dict."""
    names: frozenset[str]
    """The classes and functions it names."""


class _EndOfChecked(ValueError):
    """The pickle ends early, or goes on with what no unpickler of torch knows."""


class Leaf:
    """A number, a text or a callable; `value` where a check asks for it."""

    __slots__ = ("value",)

    def __init__(self, value: object = None) -> None:
        self.value = value


class Node:
    """A container or the result of a call, of `size` items, with those that are nodes too.

    `depth` counts what was inside when it was put in; what is added later shows at the end.
    """

    __slots__ = ("arguments", "depth", "nodes", "size")

    def __init__(self, items: list[_Item]) -> None:
        self.arguments = items[:_PLACE] if items else items
        self.depth = 1
        self.nodes = _NONE
        self.size = 0
        if items:
            self.add(items)

    def add(self, items: list[_Item]) -> None:
        """Put `items` in."""
        self.size += len(items)
        found = [item for item in items if isinstance(item, Node)]
        if found:
            self.depth = max(self.depth, *(1 + node.depth for node in found))
            if self.nodes is _NONE:
                self.nodes = found
            else:
                self.nodes += found


_Item = Leaf | Node
_PLACE = 5  # "storage", its type, its name, a device and the number of its elements
_OTHER = Leaf()
_NONE: list[Node] = []  # shared by all nodes without any, never added to


def check_pickles(content: Content, count: int, *, what: str) -> frozenset[str]:
    """`check_pickle` for `count` pickles, one behind the other, within the same steps.

    The classes and functions that they name.
    """
    start, steps, names = 0, MOST_STEPS, frozenset[str]()
    for _ in range(count):
        found = check_pickle(content, what=what, start=start, steps=steps)
        start, steps, names = found.end, found.steps, names | found.names
    return names


def check_pickle(
    content: Content, *, what: str, start: int = 0, steps: int = MOST_STEPS, whole: bool = False
) -> Checked:
    """What the pickle at `start` holds.

    Raises InputError naming `what` where unpickling would take more than `steps`, or would
    build what nests deeper than 200, contains itself or unfolds to millions of items, or where
    it asks for memory by a number. A damaged pickle passes, as torch says so itself, unless it
    has to be `whole`.
    """
    machine = _Machine(content, start, steps, what)
    try:
        with _no_collection():
            machine.run()
    except (LookupError, ValueError) as error:
        if whole:
            raise InputError(
                f"{what} is damaged or truncated.", tip="Copy or download it again."
            ) from error
        machine.at = len(content)
    _check_shape(machine.built, what)
    return Checked(machine.at, machine.steps, machine.storages, frozenset(machine.names))


def placeholders(content: Content, *, what: str, before: int = 0) -> Built:
    """What the pickle behind `before` others builds; these are run too.

    LookupError or ValueError where one is damaged; otherwise raises as `check_pickle` does.
    """
    machine = _Machine(content, 0, MOST_STEPS, what)
    with _no_collection():
        for _ in range(before + 1):
            machine = _Machine(content, machine.at, machine.steps, what)
            machine.run()
    _check_shape(machine.built, what)
    return Built(machine.stack[-1], machine.added, machine.dicts, frozenset(machine.names))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Placeholders live to the end; looking for garbage among them takes most of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Machine:
    """The state of the pickle machine: a stack, the stacks below its marks, and a memo."""

    def __init__(self, content: Content, start: int, steps: int, what: str) -> None:
        self.content, self.at, self.steps, self.what = content, start, steps, what
        self.stack: list[_Item] = []
        self.below: list[list[_Item]] = []
        self.memo: dict[int, _Item] = {}
        self.built: list[Node] = []
        self.storages: list[tuple[object, ...]] = []
        self.added: dict[int, list[_Item]] = {}
        self.names: set[str] = set()
        self.dicts: set[int] = set()

    def run(self) -> None:
        op = b""
        while op != b".":
            op = self.content[self.at : self.at + 1]
            if not self.steps:
                raise _refusal(self.what, f"takes more than {MOST_STEPS:,} steps to unpickle")
            self.at += 1
            self.steps -= 1
            _OPCODES[op](self)  # KeyError: an opcode no unpickler of torch knows, or none

    def take(self, count: int) -> bytes:
        piece = self.content[self.at : self.at + count]
        if count < 0 or len(piece) < count:
            raise _EndOfChecked
        self.at += count
        return piece

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise _EndOfChecked
        return self.take(end + 1 - self.at)[:-1]

    def build(self, items: list[_Item]) -> None:
        node = Node(items)
        _check_depth(node.depth, self.what)
        self.built.append(node)
        self.stack.append(node)

    def add(self, items: list[_Item]) -> None:
        target = self.stack[-1]
        if not isinstance(target, Node):
            raise _EndOfChecked
        target.add(items)
        self.added.setdefault(id(target), []).extend(items)
        _check_depth(target.depth, self.what)

    def above_mark(self) -> list[_Item]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def last(self, count: int) -> list[_Item]:
        items = self.stack[-count:]
        del self.stack[-count:]
        return items


def _leaf(item: Leaf, length: int, machine: _Machine) -> None:
    machine.take(length)
    machine.stack.append(item)


def _text(form: str, machine: _Machine) -> None:
    text = machine.take(machine.number(form))
    machine.stack.append(Leaf(text))


def _int(form: str, machine: _Machine) -> None:
    machine.stack.append(Leaf(machine.number(form)))


def _long(machine: _Machine) -> None:
    digits = machine.take(machine.number("<B"))
    machine.stack.append(Leaf(int.from_bytes(digits, "little", signed=True)))


def _stored(machine: _Machine) -> None:
    """A persistent id: the place of a tensor's elements."""
    (place,) = machine.last(1)
    if isinstance(place, Node):
        values = [item.value if isinstance(item, Leaf) else None for item in place.arguments]
        machine.storages.append(tuple(values))
    machine.build([place])


def _global(machine: _Machine) -> None:
    name = machine.line() + b"." + machine.line()
    machine.names.add(name.decode(errors="replace"))
    machine.stack.append(Leaf(name))


def _put(form: str, machine: _Machine) -> None:
    index = machine.number(form)
    if index > MOST_STEPS:  # the unpickler of TorchScript makes a table as long as the index
        raise _refusal(machine.what, f"gives an object the number {index:,} when unpickled")
    machine.memo[index] = machine.stack[-1]


def _dict(machine: _Machine) -> None:
    machine.build([])
    machine.dicts.add(id(machine.stack[-1]))


def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _call(machine: _Machine) -> None:
    function, arguments = machine.last(2)
    if isinstance(function, Leaf) and isinstance(arguments, Node):
        _check_call(str(function.value)[2:-1], arguments.arguments, machine.what)
    machine.build([function, arguments])


def _check_call(name: str, arguments: list[_Item], what: str) -> None:
    values = [item.value if isinstance(item, Leaf) else None for item in arguments]
    if name.endswith(_ALLOCATING) and any(type(value) is int for value in values):
        raise _refusal(what, f"asks for memory by a number ({name[-40:]})")
    if name == _TYPE_TAG and not _is_plain_type(*values[1:]):
        raise _refusal(what, "names a type that torch may not be able to read")
    if name == "_codecs.encode" and not (values[1:] and values[1] in _CODECS):
        raise _refusal(what, "converts text by a codec")


def _is_plain_type(name: object = None) -> bool:
    """Whether a type of TorchScript nests as types do; its parser calls itself for each level."""
    return (
        isinstance(name, bytes)
        and _TYPE.fullmatch(name) is not None
        and name.count(b"[") <= _DEEPEST
    )


def _protocol(machine: _Machine) -> None:
    machine.take(1)


_OPCODES: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b".": lambda _: None,  # the loop ends
    b"N": partial(_leaf, _OTHER, 0),
    b"\x88": partial(_leaf, _OTHER, 0),
    b"\x89": partial(_leaf, _OTHER, 0),
    b"G": partial(_leaf, _OTHER, 8),
    b"K": partial(_int, "<B"),
    b"M": partial(_int, "<H"),
    b"J": partial(_int, "<i"),
    b"\x8a": _long,
    b"X": partial(_text, "<I"),
    b"U": partial(_text, "<B"),
    b"T": partial(_text, "<i"),
    b"\x8c": partial(_text, "<B"),
    b"\x8d": partial(_text, "<q"),
    b"c": _global,
    b"(": _mark,
    b")": lambda m: m.build([]),
    b"]": lambda m: m.build([]),
    b"}": _dict,
    b"\x8f": lambda m: m.build([]),
    b"t": lambda m: m.build(m.above_mark()),
    b"\x85": lambda m: m.build(m.last(1)),
    b"\x86": lambda m: m.build(m.last(2)),
    b"\x87": lambda m: m.build(m.last(3)),
    b"a": lambda m: m.add(m.last(1)),
    b"s": lambda m: m.add(m.last(2)),
    b"b": lambda m: m.add(m.last(1)),
    b"e": lambda m: m.add(m.above_mark()),
    b"u": lambda m: m.add(m.above_mark()),
    b"R": _call,
    b"\x81": _call,
    b"Q": _stored,
    b"q": partial(_put, "<B"),
    b"r": partial(_put, "<I"),
    b"h": lambda m: m.stack.append(m.memo[m.number("<B")]),
    b"j": lambda m: m.stack.append(m.memo[m.number("<I")]),
}


def _check_shape(nodes: list[Node], what: str) -> None:
    """Depth and unfolded size of every node, from the leaves up."""
    measured: dict[int, tuple[int, int]] = {}
    for root in nodes:
        path = [(root, iter(root.nodes))] if id(root) not in measured else []
        on_path = {id(root)}
        while path:
            node, rest = path[-1]
            child = next(rest, None)
            if child is None:
                measured[id(node)] = _measure(node, measured, what)
                on_path.discard(id(node))
                path.pop()
            elif id(child) in on_path:
                raise _refusal(what, "holds an object that contains itself")
            elif id(child) not in measured:
                path.append((child, iter(child.nodes)))
                on_path.add(id(child))


def _measure(node: Node, measured: dict[int, tuple[int, int]], what: str) -> tuple[int, int]:
    inner = [measured[id(child)] for child in node.nodes]
    depth = 1 + max((deep for deep, _ in inner), default=0)
    size = 1 + node.size + sum(size for _, size in inner)
    _check_depth(depth, what)
    if size > _LARGEST:
        raise _refusal(what, f"unfolds to more than {_LARGEST:,} objects")
    return depth, size


def _check_depth(depth: int, what: str) -> None:
    if depth > _DEEPEST:
        raise _refusal(what, f"nests its objects deeper than {_DEEPEST}")


def _refusal(what: str, does: str) -> InputError:
    return InputError(
        f"{what} {does}, which no file of weights does; it was not loaded.",
        tip="Save it again with torch, or pass --trust if you trust its author.",
    )
