"""What to do to a converted net, and how hard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from equiaudit.errors import InputError
from equiaudit.training.windows import Moves

__all__ = ["Stage", "TrainingOptions"]

Stage = Literal["distil", "finetune"]

_LABEL_RATE, _MAP_RATE = 1e-3, 0.02
_LEAST_BATCH, _MOST_BATCH, _STEPS = 8, 128, 16


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
    batch_size: int | None = None
    """Windows per step; None: a sixteenth of the images, from 8 to 128."""
    distil_rate: float = 0.02
    """Highest learning rate of a distillation (SGD, Nesterov momentum 0.9)."""
    finetune_rate: float | None = None
    """Highest learning rate of a fine-tuning; None: 0.001 for labels (the MASS paper's), 0.02 for
    maps."""
    warmup: float = 0.2
    """Share of the steps in which the rate rises."""
    weight_decay: float = 5e-4
    """Of weights; biases, normalisations and selectors have none."""
    temperature: float = 3.0
    features: float = 2.0
    """Weight of the feature term, relative to the divergence of the outputs; not for maps."""
    overlap: float = 1.0
    """Of maps, weight of the overlap of the objects (soft Dice), relative to the divergence or
    the cross-entropy."""
    mixup: float = 1.0
    """Both parameters of the Beta distribution of the mix; 0 for none. Maps are not mixed."""
    crop: int | None = None
    """Most px that a window is moved; None: an eighth of its shorter side, and where the output
    is a map anywhere in the photo. Beyond the photo its mirror image enters."""
    flip: bool = True
    zero_pad: float | None = None
    """Share of the windows that black enters at, up to `crop` px (or an eighth of the side);
    None: half of them for maps, a quarter for labels; 0: none."""
    roll: float = 0.0
    """Share of the windows that are moved on the torus by any distance; for nets that are not
    exact."""
    objects: float = 0.5
    """Of photos with a mask, the share of the windows that are laid on an object."""
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
        if self.batch_size is not None:
            _require(self.batch_size >= 2, "batch_size", "at least 2", self.batch_size)
        _require(self.temperature > 0, "temperature", "above 0", self.temperature)
        for name in ("warmup", "roll", "average", "holdout"):
            value = getattr(self, name)
            _require(0 <= value < 1 or (name == "roll" and value == 1), name, "in [0, 1)", value)
        entering = (self.zero_pad or 0.0) + self.roll
        _require(0 <= entering <= 1, "zero_pad and roll", "shares of at most 1", entering)

    def epochs(self, stage: Stage) -> int:
        """How many of that stage."""
        return self.distil if stage == "distil" else self.finetune

    def rate(self, stage: Stage, *, dense: bool = False) -> float:
        """The highest learning rate of that stage; `dense` where the output is a map."""
        if stage == "distil":
            return self.distil_rate
        if self.finetune_rate is not None:
            return self.finetune_rate
        return _MAP_RATE if dense else _LABEL_RATE

    def batch(self, count: int) -> int:
        """Windows per step where there are `count` images."""
        return self.batch_size or min(_MOST_BATCH, max(_LEAST_BATCH, count // _STEPS))

    def moves(self, window: tuple[int, int], *, dense: bool) -> Moves:
        """How windows (H, W) are drawn; `dense` where the output is a map."""
        share = (0.5 if dense else 0.25) if self.zero_pad is None else self.zero_pad
        far = min(window) // 8 if self.crop is None else min(self.crop, min(window) - 1)
        return Moves(
            crop=far,
            anywhere=dense and self.crop is None,
            objects=self.objects,
            flip=self.flip,
            zero_pad=share,
            roll=self.roll,
        )

    def patience_of(self, stage: Stage) -> int:
        """Epochs without improvement that are borne."""
        return self.patience if self.patience is not None else max(2, self.epochs(stage) // 4)

    def recipe(self) -> dict[str, object]:
        """What decides the result, for telling whether a checkpoint belongs to this run."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint", "device")}


def _require(holds: bool, name: str, wanted: str, found: object) -> None:
    if not holds:
        raise InputError(f"{name} must be {wanted}, and is {found}.")
