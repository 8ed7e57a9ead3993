"""What --only and --skip leave as it is, and what then is left of a promise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from equiaudit.errors import InputError, NothingToDo
from equiaudit.models.types import Preprocess
from equiaudit.repair.options import FixOptions
from equiaudit.repair.rewrite.rewrite import left_out, patterns
from equiaudit.results.repair import Claim, Inspection, OpRow

_SHOWN = 6


def ops_left(found: Inspection, options: FixOptions) -> tuple[str, ...]:
    """The ops of a model that the globs leave as they are, by module path or else by node.

    Raises InputError where a glob matches no op, and NothingToDo where no op remains.
    """
    for flag, globs in (("only", options.only), ("skip", options.skip)):
        for pattern in patterns(globs):
            _require_match(found, flag, pattern)
    left = [row for row in found.ops if left_out(_names(row), options.only, options.skip)]
    if left and len(left) == len(found.ops):
        raise NothingToDo(f"--only and --skip leave no op of {found.model} to convert.")
    return tuple(row.where or row.node for row in left)


def require_running(graph: fx.GraphModule | None, how: Preprocess, left: Sequence[str]) -> None:
    """NothingToDo where ops that were converted do not take the maps of those `left`.

    A map of 111 px becomes one of 112 on the circle, and what follows counts on either.
    """
    if graph is None or not left:
        return
    batch = torch.zeros((2, how.planes, *how.size), dtype=how.tensor_dtype)
    try:
        with torch.inference_mode():
            graph.forward(batch)  # a GraphModule that is called prints what goes wrong in it
    except (RuntimeError, IndexError) as error:
        raise NothingToDo(
            f"The net does not run with {left[0]} left as it is: a map of it has another size where"
            " the ops beside it are converted.",
            tip="Let --only and --skip keep such ops together.",
        ) from error


def weakened(claim: Claim, left: Sequence[str], total: int) -> Claim:
    """`claim` where `left` of `total` ops stay as they are, which may break exactness."""
    if not left:
        return claim
    stay = "is left as it is" if len(left) == 1 else "are left as they are"
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    condition = f"{len(left)} of {total} operations {stay}: {', '.join(left[:_SHOWN])}{more}"
    if not claim.exact:
        condition = f"{claim.condition}; {condition}"
    return claim.model_copy(update={"exact": False, "condition": condition})


def _names(row: OpRow) -> tuple[str, str]:
    return row.node, row.where


def _require_match(found: Inspection, flag: str, pattern: str) -> None:
    if any(left_out(_names(row), None, pattern) for row in found.ops):
        return
    known = ", ".join(dict.fromkeys(row.where or row.node for row in found.ops[:_SHOWN]))
    raise InputError(
        f"--{flag} {pattern!r} matches no op that would be converted.",
        tip=f"`inspect` lists their names, such as {known}.",
    )
