"""What `fix` is told, each option declared once, and what can be checked before torch is imported.

The fields of the dataclasses make the flags of `equiaudit fix`; the groups beside them are what
type checkers know of `equiaudit.fix`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from pydantic import BeforeValidator, Field

from equiaudit.config.checks import or_word, share, square
from equiaudit.config.flags import Flag
from equiaudit.config.groups import ShiftSettings
from equiaudit.errors import InputError

Pad = Literal["wrap", "slices"]
"""How an ONNX graph pads circularly: Pad(mode="wrap") of opset 19, or Slice and Concat, which
every runtime knows."""
RuntimeName = Literal["onnxruntime", "openvino"]
Select = Literal["features", "input"]
Goal = Literal["circular", "crop"]
Window: TypeAlias = int | Literal["auto"] | None
Margin: TypeAlias = int | Literal["auto"]

OPSETS: Mapping[Pad, int] = {"wrap": 20, "slices": 18}
SUFFIXES = (".pt", ".pt2", ".onnx", ".safetensors")
"""Of the files that can be written."""
_PANEL, _RECOVERY = "Options", "Getting accuracy back"


def _several(value: Any) -> Any:
    """One word or several, each once, as a tuple."""
    return tuple(dict.fromkeys((value,) if isinstance(value, str) else value))


def _pairs(value: Any) -> Any:
    """A mapping, or the texts OUTPUT=KIND, as pairs."""
    if value is None or isinstance(value, Mapping):
        return tuple((value or {}).items())
    found = {}
    for text in value:
        name, equals, kind = text.rpartition("=")
        if not equals or not name:
            wanted = "OUTPUT=boxes, OUTPUT=keypoints or =none, with :px or :share"
            raise ValueError(f"expected {wanted}, got {text!r}")
        found[name] = kind
    return tuple(found.items())


Positions = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_pairs),
    Flag(
        _PANEL,
        "An output, by name or place, that holds boxes (x1, y1, x2, y2) or keypoints (x, y), in"
        " px or shares of the image (:px, :share), or none. Repeatable.",
        "OUTPUT=KIND[:UNIT]",
        repeats=True,
    ),
]
"""The name or place of an output, with "boxes", "keypoints" or "none"."""
Seconds = Annotated[
    float, Field(ge=0), Flag(_PANEL, "About how long verification goes on, in all.", "S")
]


@dataclass(frozen=True)
class Verifying:
    """What `verify` is told of a model and of its time."""

    positions: Positions = ()
    seconds: Seconds = 60.0


@dataclass(frozen=True)
class FixOptions:
    """How to convert and how hard to check.

    Each method names the fields it `understands`; one that no part of the method understands has
    to keep its default.
    """

    method: str = "mass"
    select: Annotated[
        Select, Flag(_PANEL, "Origins from the features or from the input.", "NAME")
    ] = "features"
    only: Annotated[
        str | Sequence[str] | None,
        Flag(_PANEL, "Convert only these, modules or nodes; no longer exact.", "GLOB"),
    ] = None
    skip: Annotated[
        str | Sequence[str] | None,
        Flag(_PANEL, "Leave these as they are; no longer exact.", "GLOB"),
    ] = None
    margin: Annotated[
        Margin,
        or_word("auto", 1),
        Flag(
            _PANEL,
            "px by which crop-select's input is larger; auto: what the model's resize has more than"
            " its window.",
            "auto|M",
        ),
    ] = 16
    votes: Annotated[
        int,
        BeforeValidator(square),
        Flag(_PANEL, "Crops that crop-select averages: 1, 4, 9 or 16, each a pass.", "K"),
    ] = 1
    positions: Positions = ()
    window: Annotated[
        Window,
        or_word("auto", 0),
        Flag(
            _PANEL,
            "px of each map's border to leave out of choices, or auto: steadier under crops, no"
            " longer exact.",
            "auto|N",
        ),
    ] = None
    """See `equiaudit.sampling.windowing`."""
    comparisons: int | None = None
    """Bounds each verification (see `verify`); None: as many as take about `seconds` for all."""
    seconds: Seconds = 20.0
    seed: int = 0
    devices: tuple[str, ...] | None = None
    """To verify on; None: the CPU, and CUDA where there is one."""
    pad: Annotated[
        Pad,
        Flag(
            _PANEL,
            "How an .onnx OUT pads circularly: Pad(wrap), or slices for any runtime.",
            "wrap|slices",
        ),
    ] = "wrap"
    for_: Annotated[
        tuple[RuntimeName, ...],
        BeforeValidator(_several),
        Flag(
            _PANEL,
            "A runtime for which an .onnx OUT is written and verified, besides onnxruntime:"
            " openvino. Repeatable.",
            "RUNTIME",
            repeats=True,
        ),
    ] = ("onnxruntime",)
    dry_run: Annotated[bool, Flag(_PANEL, "Print the plan; write nothing.")] = False

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Those besides onnxruntime, which verifies every ONNX file."""
        return tuple(name for name in self.for_ if name != "onnxruntime")

    @property
    def narrow(self) -> bool:
        """Whether a runtime has no 64 bits, so that sums and choices are written in 32."""
        return bool(self.runtimes)

    @property
    def padding(self) -> Pad:
        """`pad`, or slices where a runtime does not know Pad(wrap)."""
        return "slices" if self.runtimes else self.pad


class MethodSettings(TypedDict, total=False):
    """`FixOptions` as Python names them."""

    select: Select
    only: str | Sequence[str] | None
    skip: str | Sequence[str] | None
    margin: Margin
    votes: int
    positions: Mapping[str, str] | None
    window: Window
    seconds: float
    pad: Pad
    for_: str | Sequence[str]
    dry_run: bool


@dataclass(frozen=True)
class Measuring:
    """Which method, or how one is picked, on which images."""

    method: Annotated[
        str | None,
        Flag(
            _PANEL,
            "mass rewrites the net; canonical rolls the input of the net as it is,"
            " canonical+border also pads by whether it shows a border; crop-select chooses a crop"
            " of a larger input; aps, lps, caps, lpf and ddac, and mass, aps, lps or caps with +lpf"
            " or +ddac, are for training. A+B puts A around B; auto measures those that need no"
            " training on --data and picks. Default: the exact method that costs"
            " least on --data; without, mass for classifiers and canonical+border for maps.",
            "NAME",
        ),
    ] = None
    goal: Annotated[
        Goal, Flag(_PANEL, "The shifts that auto picks by: circular or crop.", "KIND")
    ] = "circular"
    compare_methods: Annotated[
        bool, Flag(_PANEL, "Measure every method on --data; write nothing.")
    ] = False
    data: Annotated[
        str | Path | None,
        Flag(_PANEL, "Images, a folder or URL: verify on some, and scan both models.", "DIR"),
    ] = None
    max_accuracy_drop: Annotated[
        float | None,
        BeforeValidator(share),
        Flag(
            _PANEL,
            "Most unshifted accuracy to lose on --data, as 0.5% or 0.005 (1% for auto).",
            "SHARE",
        ),
    ] = None
    save_preprocess: Annotated[
        bool,
        Flag(_PANEL, "Keep what this run knows of the model's input and output in MODEL.toml."),
    ] = False
    report: Annotated[
        str | Path | None,
        Flag(
            _PANEL,
            "Folder for verification.json and fix.json. Default reports/<OUT>-fix.",
            "DIR",
        ),
    ] = None


class MeasuringSettings(TypedDict, total=False):
    """`Measuring` as Python names it."""

    method: str | None
    goal: Goal
    compare_methods: bool
    data: str | Path | None
    max_accuracy_drop: float | None
    save_preprocess: bool
    report: str | Path | None


@dataclass(frozen=True)
class Stages:
    """Training between conversion and verification."""

    calibrate: Annotated[
        bool, Flag(_RECOVERY, "Re-estimate the statistics of batch normalisation.")
    ] = False
    distil: Annotated[
        int,
        Field(ge=0),
        Flag(_RECOVERY, "Epochs of imitating the original net; needs no labels.", "N"),
    ] = 0
    finetune: Annotated[int, Field(ge=0), Flag(_RECOVERY, "Epochs on labels or masks.", "N")] = 0
    learning_rate: Annotated[
        float | None,
        Flag(
            _RECOVERY,
            "Highest learning rate. Default 0.02, to fine-tune 0.001, for maps 0.006.",
            "X",
        ),
    ] = None
    train_data: Annotated[
        str | Path | None,
        Flag(_RECOVERY, "Images for these. Default: those of --data.", "DIR"),
    ] = None
    train_limit: Annotated[
        int | None, Field(ge=2), Flag(_RECOVERY, "Use that many of them.", "N")
    ] = None
    train_zero_pad: Annotated[
        float | None,
        Field(ge=0, le=1),
        Flag(
            _RECOVERY,
            "Share of the training windows that black enters at, as in zero-pad scans; 0 for none."
            " Default 0.5 where a map comes out, else 0.25.",
            "SHARE",
        ),
    ] = None


class TrainingSettings(TypedDict, total=False):
    """`Stages` as Python names them."""

    calibrate: bool
    distil: int
    finetune: int
    learning_rate: float | None
    train_data: str | Path | None
    train_limit: int | None
    train_zero_pad: float | None


class RepairSettings(
    MethodSettings, MeasuringSettings, TrainingSettings, ShiftSettings, total=False
):
    """What `fix` may be told beside the model and how data are read."""


def checked_out(out: Path | str | None, options: FixOptions) -> Path | None:
    """The file to write, None for a dry run without one; InputError where it cannot be."""
    if out is not None:
        target = checked_target(out, options.pad)
        _check_runtimes(target, options)
        return target
    if options.dry_run:
        return None
    raise InputError("fix needs a file to write.", tip="Add -o OUT, or --dry-run.")


def checked_target(out: Path | str, pad: Pad = "wrap") -> Path:
    """`out`; InputError where its suffix names no kind of model, or its folder is not there."""
    target = Path(out)
    check_suffix(target, pad)
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent} to write {target.name} into.")
    return target


def _check_runtimes(target: Path, options: FixOptions) -> None:
    """InputError where a runtime is not installed, or reads no such file."""
    from equiaudit.models.runtimes import installed

    for name in options.runtimes:
        installed(name)
        if target.suffix.lower() != ".onnx":
            raise InputError(
                f"--for {name} is for ONNX files, and {target.name} is none.", tip="Write an .onnx."
            )


def check_suffix(path: Path, pad: Pad) -> None:
    """InputError where the suffix names no kind of model, or one that `pad` is not for."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path.name} has no suffix that names a kind of model.",
            tip=f"Use one of {', '.join(SUFFIXES)}.",
        )
    if pad not in OPSETS:
        raise InputError(f"--pad is {pad!r}.", tip=f"It is {' or '.join(OPSETS)}.")
    if pad != "wrap" and suffix != ".onnx":
        raise InputError(f"--pad {pad} is for ONNX files, and {path.name} is none.")
