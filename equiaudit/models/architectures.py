"""Which architecture of torchvision weights belong to, by the names and shapes of their tensors.

`torchvision.txt` has a line per net, digest and name; `python benchmarks/architectures.py` writes
it. The search of `suggesting` builds nets, and is for weights that no line has.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from equiaudit.errors import InputError
from equiaudit.models.pickles import checked_shapes
from equiaudit.models.zips import member_bytes

FEWEST = 16
"""Tensors; what has fewer is a net of nobody's registry."""
ARCH_TIP = "Add --arch torchvision:NAME, timm:NAME or pkg.module:factory."
TABLE = Path(__file__).with_name("torchvision.txt")
COUNTED = "num_batches_tracked"
_LARGEST = 8 << 20  # bytes of names and shapes
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError,
            zipfile.BadZipFile, InputError)  # fmt: skip

Shapes = Mapping[str, Sequence[int]]


def refuse_without_architecture(path: Path, kind: str) -> None:
    """InputError for plain weights where their architecture is known, or nobody could know it.

    Nothing for weights that the search has to look at, and for what is not plainly weights.
    """
    shapes = _shapes_of_file(path, kind)
    if not shapes:
        return
    if len(shapes) < FEWEST:
        raise without_architecture(path, None)
    fitting = known_architecture(shapes)
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


def known_architecture(shapes: Shapes) -> str | None:
    """The net of torchvision that tensors of these names and shapes are of; None where none is."""
    wanted = digest(shapes)
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        found, _, name = line.partition(" ")
        if found == wanted:
            return f"torchvision:{name}"
    return None


def digest(shapes: Shapes) -> str:
    """Of names and shapes but for the first side, which in a classifier is that of the classes."""
    rows = sorted((name, list(shape)[1:]) for name, shape in shapes.items() if COUNTED not in name)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _shapes_of_file(path: Path, kind: str) -> Shapes | None:
    """Of a flat state dict; None where the file is anything else, which loading it will say."""
    try:
        if kind == "safetensors":
            return _shapes_of_header(path)
        pickled = member_bytes(path, "data.pkl", _LARGEST)
        return None if pickled is None else checked_shapes(pickled, what=str(path))
    except _DAMAGED:
        return None


def _shapes_of_header(path: Path) -> Shapes:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, _LARGEST)))
    header.pop("__metadata__", None)
    return {name: [int(side) for side in entry["shape"]] for name, entry in header.items()}
