"""The options of `fix` in groups: what to convert by, on which images, and how to train."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer

from equiaudit.cli.command import Call
from equiaudit.errors import InputError
from equiaudit.repair.options import FixOptions

LAYING_FLAGS = (
    *("layout", "split", "classes", "ignore_index", "no_mask"),
    *("mask_offset", "mask_threshold", "mask_orientation"),
)
"""The settings that say how images and masks lie."""
DATA_FLAGS = (
    *("labels", "class_order", "class_names"),
    *LAYING_FLAGS,
    *("limit", "max_shift", "offsets"),
)
"""The settings that say how --data is read and shifted."""
_DEFAULTS = FixOptions()
_RECOVERY = "Getting accuracy back"
_LEAVE_OUT = "Leave one of them out."


@dataclass(frozen=True)
class Conversion:
    """By which method, and its own settings."""

    method: Annotated[
        str | None,
        typer.Option(
            help="mass rewrites the net; canonical rolls the input of the net as it is,"
            " canonical+border also pads by whether it shows a border; crop-select chooses a crop"
            " of a larger input; aps, lps, caps, lpf and ddac, and mass, aps, lps or caps with +lpf"
            " or +ddac, are for training. A+B puts A around B; auto measures those that need no"
            " training on --data and picks. Default: the exact method that costs"
            " least on --data; without, mass for classifiers and canonical+border for maps.",
            metavar="NAME",
        ),
    ] = None
    goal: Annotated[
        str,
        typer.Option(help="The shifts that auto picks by: circular or crop.", metavar="KIND"),
    ] = "circular"
    compare_methods: Annotated[
        bool,
        typer.Option("--compare-methods", help="Measure every method on --data; write nothing."),
    ] = False
    margin: Annotated[
        int,
        typer.Option(help="px by which crop-select's input is larger.", metavar="M", min=1),
    ] = _DEFAULTS.margin
    window: Annotated[
        str | None,
        typer.Option(
            help="px of each map's border to leave out of choices, or auto: steadier under crops,"
            " no longer exact.",
            metavar="auto|N",
        ),
    ] = None
    positions: Annotated[
        list[str] | None,
        typer.Option(
            help="An output, by name or place, that holds boxes (x1, y1, x2, y2) or keypoints"
            " (x, y), in px or shares of the image (:px, :share), or none; canonical maps them"
            " back. Repeatable.",
            metavar="OUTPUT=KIND[:UNIT]",
        ),
    ] = None
    select: Annotated[
        str,
        typer.Option(help="Origins from the features or from the input.", metavar="NAME"),
    ] = _DEFAULTS.select
    only: Annotated[
        str | None,
        typer.Option(help="Convert only these, modules or nodes; no longer exact.", metavar="GLOB"),
    ] = None
    skip: Annotated[
        str | None, typer.Option(help="Leave these as they are; no longer exact.", metavar="GLOB")
    ] = None
    pad: Annotated[
        str,
        typer.Option(
            help="How an .onnx OUT pads circularly: Pad(wrap), or slices for any runtime.",
            metavar="wrap|slices",
        ),
    ] = _DEFAULTS.pad

    def checked(self, call: Call) -> None:
        """InputError for a value that there is not, and for options that nothing reads."""
        if self.select not in ("features", "input"):
            raise InputError(f"--select is {self.select!r}.", tip="It is features or input.")
        if self.compare_methods:
            self._check_comparison(call)
        elif self.method != "auto":
            call.refuse(
                ("goal",),
                "is what methods are compared by",
                tip="Add --method auto or --compare-methods.",
            )

    def _check_comparison(self, call: Call) -> None:
        named = () if self.method == "auto" else ("method",)
        call.refuse(
            (*named, "output", "dry_run", "explain", "pad", "seconds"),
            "has no say where methods are only compared, and --compare-methods does no more",
            tip=_LEAVE_OUT,
        )

    def arguments(self) -> dict[str, Any]:
        """As `equiaudit.fix` takes them."""
        parsed = {
            "positions": parsed_positions(self.positions or []),
            "window": _window(self.window),
        }
        return asdict(self) | parsed


@dataclass(frozen=True)
class Measuring:
    """The images to measure on, and what may be lost there."""

    data: Annotated[
        str | None,
        typer.Option(
            help="Images, a folder or URL: verify on some, and scan both models.", metavar="DIR"
        ),
    ] = None
    max_accuracy_drop: Annotated[
        str | None,
        typer.Option(
            help="Most unshifted accuracy to lose on --data, as 0.5% or 0.005 (1% for auto)."
        ),
    ] = None

    def checked(self, call: Call) -> None:
        """InputError for options about images where there are none."""
        if self.data is not None:
            return
        if self.max_accuracy_drop is not None:
            _share(self.max_accuracy_drop)
            raise InputError("--max-accuracy-drop needs images.", tip="Add --data DIR.")
        call.refuse(DATA_FLAGS, "is about the images of --data", tip="Add --data DIR.")

    def arguments(self, call: Call) -> dict[str, Any]:
        """As `equiaudit.fix` takes them; without images, settings about them go unread."""
        if self.data is None:
            return {}
        most = None if self.max_accuracy_drop is None else _share(self.max_accuracy_drop)
        settings = {name: getattr(call.settings, name) for name in DATA_FLAGS}
        return {"data": self.data, "max_accuracy_drop": most, **settings}


@dataclass(frozen=True)
class Recovery:
    """Training between conversion and verification."""

    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Re-estimate the statistics of batch normalisation.",
            rich_help_panel=_RECOVERY,
        ),
    ] = False
    distil: Annotated[
        int,
        typer.Option(
            help="Epochs of imitating the original net; needs no labels.",
            metavar="N",
            min=0,
            rich_help_panel=_RECOVERY,
        ),
    ] = 0
    finetune: Annotated[
        int,
        typer.Option(
            help="Epochs on labels or masks.", metavar="N", min=0, rich_help_panel=_RECOVERY
        ),
    ] = 0
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Highest learning rate. Default 0.02, to fine-tune 0.001, for maps 0.006.",
            metavar="X",
            rich_help_panel=_RECOVERY,
        ),
    ] = None
    train_data: Annotated[
        str | None,
        typer.Option(
            help="Images for these. Default: those of --data.",
            metavar="DIR",
            rich_help_panel=_RECOVERY,
        ),
    ] = None
    train_limit: Annotated[
        int | None,
        typer.Option(help="Use that many of them.", metavar="N", min=2, rich_help_panel=_RECOVERY),
    ] = None
    train_zero_pad: Annotated[
        float | None,
        typer.Option(
            help="Share of the training windows that black enters at, as in zero-pad scans; 0 for"
            " none. Default 0.5 where a map comes out, else 0.25.",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            rich_help_panel=_RECOVERY,
        ),
    ] = None

    def checked(self, call: Call) -> None:
        """InputError for settings of stages where none of them was asked for."""
        if self.calibrate and not (self.distil or self.finetune):
            call.refuse(
                ("learning_rate", "train_zero_pad"),
                "has no meaning for --calibrate",
                tip="Add --distil N or --finetune N, or leave it out.",
            )

    def arguments(self) -> dict[str, Any]:
        """As `equiaudit.fix` takes them."""
        return asdict(self)


def _window(text: str | None) -> int | Literal["auto"] | None:
    if text is None or text.isdigit():
        return None if text is None else int(text)
    if text != "auto":
        raise InputError(f"--window is {text!r}.", tip="It is auto, or a number of px.")
    return "auto"


def parsed_positions(pairs: list[str]) -> dict[str, str]:
    """OUTPUT=KIND, several."""
    found = {}
    for pair in pairs:
        name, equals, kind = pair.rpartition("=")
        if not equals or not name:
            raise InputError(
                f"--positions is {pair!r}.",
                tip="Write OUTPUT=boxes, OUTPUT=keypoints or =none, with :px or :share.",
            )
        found[name] = kind
    return found


def _share(text: str) -> float:
    """``0.5%`` or ``0.005``."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(f"--max-accuracy-drop is {text!r}.", tip="Write 0.5% or 0.005.")
    return share
