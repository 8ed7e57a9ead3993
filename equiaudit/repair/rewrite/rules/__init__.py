"""One rule per kind of operation: what it matches, whether we may, and how it is rewritten."""

from equiaudit.repair.rewrite.rules import (  # noqa: F401  (each module registers its rules)
    collapse,
    conv,
    dense,
    integers,
    layout,
    mean,
    norm,
    order,
    pairs,
    passing,
    pool,
    resample,
    slicing,
    unpool,
)
from equiaudit.repair.rewrite.rules.registry import PAIR_RULES, RULES, Call, Rule

__all__ = ["PAIR_RULES", "RULES", "Call", "Rule"]
