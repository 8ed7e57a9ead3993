"""Where the real weights and images are; tests that need them skip by name where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(os.environ.get("EQUIAUDIT_CASES", Path(__file__).parents[2] / "shared" / "cases"))


def path(name: str) -> Path:
    """The folder of one case; skips the calling test where it is absent."""
    folder = _ROOT / name
    if not folder.is_dir():
        pytest.skip(f"the case {name!r} is not on this machine")
    return folder
