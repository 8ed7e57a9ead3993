"""The arithmetic under which exactness is a fair question: full fp32, deterministic."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

SETTINGS = (
    "TF32 off",
    "deterministic algorithms",
    "cuDNN autotuning off",
    "both members of a pair in batches of the same composition",
)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """TF32 and autotuning off, deterministic algorithms on; all put back afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(True, warn_only=True)
        with _cudnn_exact(), torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic.*", category=UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_float32_matmul_precision(precision)


def _cudnn_exact() -> AbstractContextManager[None]:
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(  # type: ignore[no-untyped-call]
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags
