"""What takes the place of helpers that need 64 bits, where a runtime has only 32.

`Builder.call` writes the twin where the graph is to be `narrow`. A helper without one is written as
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from equiaudit.sampling import narrow
from equiaudit.sampling.mean import order_free_mean, order_free_total
from equiaudit.sampling.order_free import order_free_norm, order_free_variance

Helper = Callable[..., Any]
F = TypeVar("F", bound=Helper)

TWINS: dict[Helper, Helper] = {
    order_free_mean: narrow.narrow_mean,
    order_free_total: narrow.narrow_total,
    order_free_norm: narrow.narrow_norm,
    order_free_variance: narrow.narrow_variance,
}


def twin(wide: Helper) -> Callable[[F], F]:
    """Register a function of the same arguments as the twin of `wide`."""

    def register(function: F) -> F:
        TWINS[wide] = function
        return function

    return register
