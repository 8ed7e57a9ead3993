"""What to do to a converted net, and how hard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from equiaudit.errors import InputError

__all__ = ["Stage", "TrainingOptions"]

Stage = Literal["distil", "finetune"]


@dataclass(frozen=True)
class TrainingOptions:
    """The stages, in the order they run, and the recipe of the training stages.

    The recipe was chosen on ResNet-20; `benchmarks/recover.py` prints what it reaches.
    """

    calibrate: bool = False
    """Re-estimate the statistics of batch normalisation."""
    distil: int = 0
    """Epochs of imitating the original net; needs no labels."""
    finetune: int = 0
    """Epochs on labels or masks."""
    batch_size: int = 128
    distil_rate: float = 0.02
    """Highest learning rate of a distillation (SGD, Nesterov momentum 0.9)."""
    finetune_rate: float = 1e-3
    """Highest learning rate of a fine-tuning (the MASS paper's)."""
    warmup: float = 0.2
    """Share of the steps in which the rate rises."""
    weight_decay: float = 5e-4
    """Of weights; biases, normalisations and selectors have none."""
    temperature: float = 3.0
    features: float = 2.0
    """Weight of the feature term, relative to the divergence of the outputs."""
    mixup: float = 1.0
    """Both parameters of the Beta distribution of the mix; 0 for none."""
    crop: int | None = None
    """Most px that an image is moved, its mirror image entering; None: an eighth of the shorter
    side."""
    flip: bool = True
    roll: float = 0.0
    """Share of the images that are moved on the torus by any distance."""
    average: float = 0.98
    """Decay per step of the running average of the weights, which is what is kept; 0: none."""
    frozen_norm: bool = False
    """Keep the statistics of batch normalisation while training."""
    holdout: float = 0.05
    """Share of the images that are not trained on and decide when to stop."""
    patience: int | None = None
    """Epochs without a better held-out loss before the end; None: a quarter of the epochs."""
    seed: int = 0
    device: str = "cpu"
    checkpoint: Path | None = None
    """Where the state is kept after every epoch, to resume from; None: nowhere."""

    def __post_init__(self) -> None:
        """InputError for a setting that is out of range."""
        for name in ("distil", "finetune"):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        _require(self.batch_size >= 2, "batch_size", "at least 2", self.batch_size)
        _require(self.temperature > 0, "temperature", "above 0", self.temperature)
        for name in ("warmup", "roll", "average", "holdout"):
            value = getattr(self, name)
            _require(0 <= value < 1 or (name == "roll" and value == 1), name, "in [0, 1)", value)

    def epochs(self, stage: Stage) -> int:
        """How many of that stage."""
        return self.distil if stage == "distil" else self.finetune

    def rate(self, stage: Stage) -> float:
        """The highest learning rate of that stage."""
        return self.distil_rate if stage == "distil" else self.finetune_rate

    def patience_of(self, stage: Stage) -> int:
        """Epochs without improvement that are borne."""
        return self.patience if self.patience is not None else max(2, self.epochs(stage) // 4)

    def recipe(self) -> dict[str, object]:
        """What decides the result, for telling whether a checkpoint belongs to this run."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint", "device")}


def _require(holds: bool, name: str, wanted: str, found: object) -> None:
    if not holds:
        raise InputError(f"{name} must be {wanted}, and is {found}.")
