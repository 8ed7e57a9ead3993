"""Write the tables of torchvision's and timm's nets by the names and shapes of their tensors.

    python benchmarks/architectures.py [torchvision] [timm]

Nets are built on the meta device, which holds shapes alone, or of fake tensors where they read
what they hold; timm's take some minutes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from equiaudit.errors import InputError
from equiaudit.models.architectures import TABLES, digest
from equiaudit.models.zoo import build_architecture


def main() -> None:
    warnings.simplefilter("ignore")
    for zoo in sys.argv[1:] or TABLES:
        rows = list(_rows(zoo))
        TABLES[zoo].write_text("".join(f"{key} {name}\n" for key, name in rows), encoding="utf-8")
        print(f"{len(rows)} nets in {TABLES[zoo]}")


def _rows(zoo: str) -> Iterator[tuple[str, str]]:
    for name in _names(zoo):
        try:
            yield digest_of(f"{zoo}:{name}"), name
        except (InputError, RuntimeError) as error:
            print(f"{name} is left out: {error}")


def _names(zoo: str) -> list[str]:
    if zoo == "torchvision":
        from torchvision import models

        return [name for name in models.list_models() if not name.startswith("quantized_")]
    import timm

    return [name for module in timm.list_modules() for name in timm.list_models(module=module)]


def digest_of(arch: str) -> str:
    try:
        with torch.device("meta"):
            state = build_architecture(arch, ()).state_dict()
    except (InputError, NotImplementedError):
        with FakeTensorMode():
            state = build_architecture(arch, ()).state_dict()
    return digest({key: tuple(tensor.shape) for key, tensor in state.items()})


if __name__ == "__main__":
    main()
