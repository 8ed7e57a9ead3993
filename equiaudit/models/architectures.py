"""Which architecture weights belong to, by the names and shapes of their tensors.

`torchvision.txt` and `timm.txt` have a line per net, digest and name; `python
benchmarks/architectures.py` writes them. The search of `suggesting` builds nets, and is for weights
that no line has.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from equiaudit.errors import InputError
from equiaudit.models.pickled_weights import Pickled, pickled_weights

FEWEST = 16
"""Tensors; what has fewer is a net of nobody's registry."""
ARCH_TIP = "Add --arch torchvision:NAME, timm:NAME or pkg.module:factory."
TABLES = {zoo: Path(__file__).with_name(f"{zoo}.txt") for zoo in ("torchvision", "timm")}
COUNTED = "num_batches_tracked"
WRAPPER = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What compilers and shards put into names."""
_DEEPEST = 3
"""Words before the names of a net: "module.model.net."."""
_LARGEST = 8 << 20  # bytes of names and shapes
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError,
            zipfile.BadZipFile, InputError)  # fmt: skip

Shapes = Mapping[str, Sequence[int]]


def refuse_without_architecture(path: Path, kind: str) -> None:
    """InputError for weights where their architecture is known, or nobody could know it.

    Nothing for weights that the search has to look at, and for what is not plainly weights.
    """
    found = _read(path, kind)
    if found is None or not found.states:
        return
    largest = max(found.states, key=len)
    if len(largest) < FEWEST:
        raise without_architecture(path, None)
    fitting = known_architecture(largest, found.arch)
    if fitting is not None:
        raise without_architecture(path, f"--arch {fitting} fits.")


def without_architecture(path: Path, tip: str | None) -> InputError:
    """The refusal of weights that no `--arch` goes with."""
    found = re.match(r"--arch \S+", tip or "")
    return InputError(
        f"{path} holds weights without an architecture.",
        tip=tip or ARCH_TIP,
        flags=[found[0]] if found else [],
    )


def known_architecture(shapes: Shapes, stated: str | None = None) -> str | None:
    """The net that tensors of these names and shapes are of; None where no table has it.

    The one `stated` is preferred, then torchvision's. Words before the names of a net, and what
    lies beside it, do not count.
    """
    nets: dict[str, list[str]] = {}
    for zoo, table in TABLES.items():
        if find_spec(zoo) is not None:
            for line in table.read_text(encoding="utf-8").splitlines():
                key, _, name = line.partition(" ")
                nets.setdefault(key, []).append(f"{zoo}:{name}")
    found = next((nets[key] for key in map(digest, _views(shapes)) if key in nets), [])
    named = [f"{zoo}:{stated}" for zoo in TABLES if f"{zoo}:{stated}" in found]
    return next(iter(named + found), None)


def _views(shapes: Shapes) -> Iterator[Shapes]:
    """The tensors by the names they may have in a net: all, and those behind each prefix."""
    bare = {WRAPPER.sub("", name): shape for name, shape in shapes.items()}
    shapes = bare if len(bare) == len(shapes) else shapes
    yield shapes
    for depth in range(1, _DEEPEST + 1):
        behind: dict[str, dict[str, Sequence[int]]] = {}
        for name, shape in shapes.items():
            *words, rest = name.split(".", depth)
            if len(words) == depth:
                behind.setdefault(".".join(words), {})[rest] = shape
        yield from (view for view in behind.values() if len(view) >= FEWEST)


def digest(shapes: Shapes) -> str:
    """Of names and shapes but for the first side, which in a classifier is that of the classes."""
    rows = sorted((name, list(shape)[1:]) for name, shape in shapes.items() if COUNTED not in name)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _read(path: Path, kind: str) -> Pickled | None:
    """None where the file is not plain, which loading it will say."""
    try:
        return _of_header(path) if kind == "safetensors" else pickled_weights(path)
    except _DAMAGED:
        return None


def _of_header(path: Path) -> Pickled:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, _LARGEST)))
    header.pop("__metadata__", None)
    shapes = {name: tuple(int(s) for s in entry["shape"]) for name, entry in header.items()}
    return Pickled((shapes,) if shapes else (), None)
