"""What to do to a converted net, and how hard."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from equiaudit.errors import InputError
from equiaudit.training.windows import Moves

Stage = Literal["distil", "finetune"]

_RATES = {"distil_rate": 0.02, "finetune_rate": 1e-3}
_MAP_RATE = 6e-3
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
    distil_rate: float | None = None
    """Highest learning rate of a distillation (SGD, Nesterov momentum 0.9); None: 0.02 for
    labels, 0.006 for maps."""
    finetune_rate: float | None = None
    """Highest learning rate of a fine-tuning; None: 0.001 for labels (the MASS paper's), 0.006
    for maps."""
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
    roll: float | None = None
    """Share of the windows that are moved on the torus by any distance; None: a quarter where the
    net notices that, as one that is not exact does, else 0."""
    objects: float = 0.5
    """Of photos with a mask, the share of the windows that are laid on an object."""
    average: float = 0.98
    """Decay per step of the running average of the weights, which is what is kept; 0: none."""
    frozen_norm: bool = False
    """Keep the statistics of batch normalisation while training."""
    holdout: float = 0.05
    """Share of the images that are not trained on and decide when to stop."""
    patience: int | None = None
    """Epochs without a better held-out loss before the end; None: half of the epochs."""
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
        for name in ("warmup", "average", "holdout"):
            value = getattr(self, name)
            _require(0 <= value < 1, name, "in [0, 1)", value)
        for name in ("zero_pad", "roll", "objects"):
            value = getattr(self, name)
            _require(value is None or 0 <= value <= 1, name, "a share of at most 1", value)

    def epochs(self, stage: Stage) -> int:
        """How many of that stage."""
        return self.distil if stage == "distil" else self.finetune

    def settled(self, *, images: int, dense: bool, exact: bool) -> TrainingOptions:
        """With every default that depends on the case filled in.

        `images` are trained on; `dense` where the output is a map; `exact` where the net does not
        notice circular shifts.
        """
        defaults: dict[str, float] = {
            "batch_size": min(_MOST_BATCH, max(_LEAST_BATCH, images // _STEPS)),
            **{name: _MAP_RATE if dense else rate for name, rate in _RATES.items()},
            "zero_pad": 0.5 if dense else 0.25,
            "roll": 0.0 if exact else 0.25,
        }
        left = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        return replace(self, **left)  # type: ignore[arg-type]

    def rate(self, stage: Stage) -> float:
        """The highest learning rate of that stage."""
        given = self.distil_rate if stage == "distil" else self.finetune_rate
        return _RATES[f"{stage}_rate"] if given is None else given

    @property
    def batch(self) -> int:
        """Windows per step."""
        return self.batch_size or _MOST_BATCH

    def moves(self, window: tuple[int, int], *, dense: bool) -> Moves:
        """How windows (H, W) are drawn; `dense` where the output is a map."""
        far = min(window) // 8 if self.crop is None else min(self.crop, min(window) - 1)
        return Moves(
            crop=far,
            anywhere=dense and self.crop is None,
            objects=self.objects,
            flip=self.flip,
            zero_pad=self.zero_pad or 0.0,
            roll=self.roll or 0.0,
        )

    def patience_of(self, stage: Stage) -> int:
        """Epochs without improvement that are borne."""
        return self.patience if self.patience is not None else max(2, self.epochs(stage) // 2)

    def recipe(self) -> dict[str, object]:
        """What decides the result, for telling whether a checkpoint belongs to this run."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint", "device")}


def _require(holds: bool, name: str, wanted: str, found: object) -> None:
    if not holds:
        raise InputError(f"{name} must be {wanted}, and is {found}.")
