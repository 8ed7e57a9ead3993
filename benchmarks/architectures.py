"""Write the table of torchvision's nets by the names and shapes of their tensors.

    python benchmarks/architectures.py

Nets are built on the meta device, which holds shapes alone. Of several that share a digest the
first is listed.
"""

from __future__ import annotations

import torch
from torchvision import models

from equiaudit.errors import InputError
from equiaudit.models.architectures import TABLE, digest
from equiaudit.models.zoo import build_architecture


def main() -> None:
    rows: dict[str, str] = {}
    for name in models.list_models():
        if not name.startswith("quantized_"):
            try:
                rows.setdefault(digest_of(name), name)
            except InputError as error:
                print(f"{name} is left out: {error}")
    TABLE.write_text("".join(f"{key} {name}\n" for key, name in rows.items()), encoding="utf-8")
    print(f"{len(rows)} nets in {TABLE}")


def digest_of(name: str) -> str:
    with torch.device("meta"):
        state = build_architecture(f"torchvision:{name}", ()).state_dict()
    return digest({key: tuple(tensor.shape) for key, tensor in state.items()})


if __name__ == "__main__":
    main()
