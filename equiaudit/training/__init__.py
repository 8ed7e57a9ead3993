"""Getting accuracy back after a conversion: calibrate, distil, fine-tune.

    fixed, record = recover(fixed, original, load_examples(...), TrainingOptions(distil=40))

`fixed` and `original` are graphs; the operations of `fixed` do not change, so neither does its
exactness.
"""

from equiaudit.training.batchnorm import batch_norms, calibrate
from equiaudit.training.checkpoint import discard
from equiaudit.training.examples import Examples, load_examples
from equiaudit.training.options import TrainingOptions
from equiaudit.training.recovery import recover
from equiaudit.training.windows import Moves

__all__ = [
    "Examples",
    "Moves",
    "TrainingOptions",
    "batch_norms",
    "calibrate",
    "discard",
    "load_examples",
    "recover",
]
