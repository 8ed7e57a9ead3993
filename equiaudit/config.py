"""Settings: each declared once, read from command line, environment, file or default.

A setting is a field of `Settings`. The command line makes its flags from these fields,
`EQUIAUDIT_<NAME>` sets one from the environment, and a key of the same name in
`equiaudit.toml`, or in `[tool.equiaudit]` of `pyproject.toml`, sets one from a file. All
three go through the same checks.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from equiaudit.errors import InputError

__all__ = ["FORMATS", "Flag", "Resolved", "Settings", "flag_name", "resolve"]

FORMATS = ("text", "json", "csv", "md", "html", "junit", "github")
ENV_PREFIX = "EQUIAUDIT_"
_ENV_OF_OTHERS = ("EQUIAUDIT_CONFIG", "EQUIAUDIT_CASES")
_PATHS = ("preprocess", "labels", "classes", "output", "baseline")
_COMMAND_LINE_ONLY = ("trust",)
"""A settings file may arrive with the model it is to be wary of."""


@dataclass(frozen=True)
class Flag:
    """How a setting shows on the command line."""

    panel: str
    help: str
    metavar: str | None = None
    short: str | None = None


def _items(value: Any) -> Any:
    """A comma list as a tuple; lists pass through."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, (int, float)):
        value = [value]
    if not value:
        raise ValueError("the list is empty")
    return tuple(value)


def _lines(value: Any) -> Any:
    """Expressions: one string is split at commas and line ends; lists pass through."""
    return _items(value.replace("\n", ",")) if isinstance(value, str) else tuple(value)


def _size(value: Any) -> Any:
    """``HxW``, one number for a square, or a pair."""
    parts = value.lower().split("x") if isinstance(value, str) else value
    if isinstance(parts, int):
        parts = [parts]
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise ValueError(f"expected HxW or one number, in px, got {value!r}")
    return (numbers[0], numbers[-1])


def _or_word(word: str, least: int) -> BeforeValidator:
    """A whole number from `least` up, or `word`."""

    def check(value: Any) -> Any:
        if value == word:
            return value
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = least - 1
        if isinstance(value, bool | float) or number < least:
            raise ValueError(f"expected {word!r} or a whole number from {least} up, got {value!r}")
        return number

    return BeforeValidator(check)


def _one_of(names: tuple[str, ...]) -> BeforeValidator:
    """A comma list of `names`, each at most once."""

    def check(value: Any) -> Any:
        items = _items(value)
        for item in items:
            if item not in names:
                raise ValueError(f"{item!r} is unknown. {_nearest(str(item), names)}")
        if len(set(items)) != len(items):
            raise ValueError("a name is given twice")
        return items

    return BeforeValidator(check)


def _device(value: Any) -> Any:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, got {value!r}")
    return value


Size = Annotated[tuple[int, int] | None, BeforeValidator(_size)]
Floats = Annotated[tuple[float, ...] | None, BeforeValidator(_items)]
Auto = Literal["auto"]

_MODEL, _DATA, _SHIFTS = "Model", "Data", "Shifts"
_RUN, _JUDGE, _OUTPUT = "Run", "Gates", "Output"


class Settings(BaseModel):
    """Everything that can be set, checked; the defaults are those of `equiaudit.scan`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: Annotated[
        str | None,
        Flag(
            _MODEL,
            "What a state dict belongs to: torchvision:NAME, timm:NAME or pkg.module:factory.",
            "NAME",
        ),
    ] = None
    trust: Annotated[
        bool,
        Flag(
            _MODEL,
            "Load a file although that runs code it contains. Here only, never from settings.",
        ),
    ] = False
    size: Annotated[
        Size, Flag(_MODEL, "Window the model sees, px; one number for a square.", "HxW")
    ] = None
    mean: Annotated[
        Floats, Flag(_MODEL, "Per channel, on RGB in [0, 1]: 0.485,0.456,0.406.", "R,G,B")
    ] = None
    std: Annotated[Floats, Flag(_MODEL, "Per channel, on RGB in [0, 1].", "R,G,B")] = None
    preprocess: Annotated[
        Path | None,
        Flag(_MODEL, "TOML with channel order, pixel range, resize, dtype and layout.", "FILE"),
    ] = None
    task: Annotated[
        Literal["auto", "classification", "segmentation", "image"],
        Flag(
            _MODEL,
            "What the model does: auto, classification, segmentation or image.",
            "TASK",
        ),
    ] = "auto"
    output_name: Annotated[
        str | None,
        Flag(_MODEL, "Which output tensor to judge, where the model has several.", "NAME"),
    ] = None
    stride: Annotated[
        Size, Flag(_MODEL, "Total stride of the model, px, where it cannot be found.", "N|HxW")
    ] = None
    device: Annotated[
        str,
        BeforeValidator(_device),
        Flag(_MODEL, "Where the model runs: auto, cpu, cuda or cuda:N.", "DEVICE"),
    ] = "auto"
    backend: Annotated[
        Literal["auto", "torch", "compile", "onnxruntime"],
        Flag(_MODEL, "What runs it: auto, torch, compile or onnxruntime.", "NAME"),
    ] = "auto"

    labels: Annotated[Path | None, Flag(_DATA, "CSV with the columns file and label.", "FILE")] = (
        None
    )
    classes: Annotated[
        Path | None, Flag(_DATA, "CSV with name, index and colour of mask classes.", "FILE")
    ] = None
    ignore_index: Annotated[
        int | None, Field(ge=0), Flag(_DATA, "Id of mask pixels to leave out (255).", "N")
    ] = None
    limit: Annotated[
        int | None, Field(ge=1), Flag(_DATA, "Use N images, drawn with the seed.", "N")
    ] = None

    shifts: Annotated[
        tuple[str, ...],
        _one_of(("circular", "crop", "zero-pad")),
        Flag(_SHIFTS, "Kinds of shift, comma separated: circular, crop, zero-pad.", "KINDS"),
    ] = ("circular", "crop", "zero-pad")
    max_shift: Annotated[
        int, Field(ge=1), Flag(_SHIFTS, "Furthest shift along each axis, px.", "PX")
    ] = 16
    offsets: Annotated[
        int | Literal["full"],
        _or_word("full", 2),
        Flag(_SHIFTS, "Shifts per image and kind, or full for all of them.", "K|full"),
    ] = 16
    seed: Annotated[
        int, Field(ge=0), Flag(_SHIFTS, "Chooses offsets and the images of --limit.", "N")
    ] = 0
    protocol: Annotated[
        str | None,
        Flag(
            _SHIFTS,
            "A published protocol in place of the above: zhang2019, mass, aps, caps.",
            "NAME",
        ),
    ] = None

    batch_size: Annotated[
        int | Auto, _or_word("auto", 1), Flag(_RUN, "Images per forward pass.", "auto|N")
    ] = "auto"
    workers: Annotated[
        int | Auto, _or_word("auto", 1), Flag(_RUN, "Threads that decode images.", "auto|N")
    ] = "auto"
    resume: Annotated[bool, Flag(_RUN, "Go on from what an interrupted run kept.")] = True
    accuracy_check: Annotated[
        bool, Flag(_RUN, "Stop when accuracy is near chance: preprocessing is probably wrong.")
    ] = True

    gate: Annotated[
        tuple[str, ...],
        BeforeValidator(_lines),
        Flag(_JUDGE, "Such as 'circular.consistency>=0.95'; may be repeated.", "EXPR"),
    ] = ()
    baseline: Annotated[
        Path | None, Flag(_JUDGE, "An earlier result.json, for gates with 'drop'.", "FILE")
    ] = None
    require_baseline: Annotated[
        bool, Flag(_JUDGE, "A missing baseline is an error (exit 2), not a warning.")
    ] = False
    early_stop: Annotated[bool, Flag(_JUDGE, "End when every gate is settled.")] = False
    precision: Annotated[
        float | None, Flag(_JUDGE, "End at intervals of +-P, such as 0.01 for a point.", "P")
    ] = None
    strict: Annotated[
        bool,
        Flag(_JUDGE, "An inconclusive gate is exit 4, and an unreadable image is exit 2."),
    ] = False

    output: Annotated[
        Path | None,
        Flag(_OUTPUT, "Folder for the reports. A scan's default is reports/<model>.", "DIR", "-o"),
    ] = None
    format: Annotated[
        tuple[str, ...],
        _one_of(FORMATS),
        Flag(
            _OUTPUT,
            f"Comma list of {', '.join(FORMATS)}. The first goes to stdout; "
            "where several are named, each is also a file in the folder.",
            "FORMATS",
        ),
    ] = ("text",)
    images: Annotated[
        bool, Flag(_OUTPUT, "Thumbnails of the worst images in the result and the html.")
    ] = True


@dataclass(frozen=True)
class Resolved:
    """The settings in force, and where each that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)
    """Setting -> "--max-shift", "EQUIAUDIT_MAX_SHIFT" or "max-shift in equiaudit.toml"."""
    notes: tuple[str, ...] = ()


def flag_name(setting: str) -> str:
    """``max_shift`` -> ``max-shift``."""
    return setting.replace("_", "-")


def resolve(
    given: Mapping[str, Any],
    *,
    config: Path | None = None,
    applies: Collection[str] | None = None,
    folder: Path = Path(),
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Settle every setting: command line, then environment, then file, then default.

    `given` holds what the command line named. `config` (or `EQUIAUDIT_CONFIG`) replaces the
    files looked for in `folder`. `applies` names the settings that environment and file may
    set for this verb; None is all of them. InputError names the key, where it stands and
    the nearest name.
    """
    environ = os.environ if environ is None else environ
    if config is None and environ.get("EQUIAUDIT_CONFIG"):
        config = Path(environ["EQUIAUDIT_CONFIG"])
    from_env, notes = _from_environment(environ)
    layers = [_from_file(config, folder), from_env]
    values: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        values |= {k: v for k, v in layer.items() if applies is None or k in applies}
    values |= {name: (value, f"--{flag_name(name)}") for name, value in given.items()}
    settings = _validate(values)
    return Resolved(settings, {name: origin for name, (_, origin) in values.items()}, notes)


def _validate(values: Mapping[str, tuple[Any, str]]) -> Settings:
    try:
        return Settings.model_validate({name: value for name, (value, _) in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        value, origin = values[str(first["loc"][0])]
        raise InputError(f"{origin}: {_reason(value, first['msg'])}") from None


def _reason(value: Any, message: str) -> str:
    """Pydantic's words as one sentence that shows the value."""
    if message.startswith("Value error, "):
        text = message.removeprefix("Value error, ")
    else:
        text = f"{message[0].lower()}{message[1:]}, got {value!r}"
    return text if text[-1] in ".?" else f"{text}."


def _from_environment(
    environ: Mapping[str, str],
) -> tuple[dict[str, tuple[Any, str]], tuple[str, ...]]:
    """Settings by name; a variable that names none is worth a note, as it may be another's."""
    found: dict[str, tuple[Any, str]] = {}
    notes = []
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable in _ENV_OF_OTHERS:
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name in Settings.model_fields:
            _check_place(name, variable)
            found[name] = (value, variable)
        else:
            known = [ENV_PREFIX + key.upper() for key in Settings.model_fields]
            notes.append(f"{variable} is not a setting. {_nearest(variable, known)}")
    return found, tuple(notes)


def _from_file(config: Path | None, folder: Path) -> dict[str, tuple[Any, str]]:
    path = config or next(
        (p for p in (folder / "equiaudit.toml", folder / "pyproject.toml") if p.is_file()), None
    )
    if path is None:
        return {}
    table = _settings_table(path, _read_toml(path), required=config is not None)
    known = [flag_name(name) for name in Settings.model_fields]
    found: dict[str, tuple[Any, str]] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in Settings.model_fields:
            raise InputError(f"{path}: {key!r} is not a setting.", tip=_nearest(key, known))
        _check_place(name, f"{key} in {path}")
        found[name] = (_beside(path, value) if name in _PATHS else value, f"{key} in {path}")
    return found


def _check_place(name: str, origin: str) -> None:
    if name in _COMMAND_LINE_ONLY:
        raise InputError(
            f"{origin}: this is taken from the command line only.", tip=f"Give --{name} there."
        )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no settings file at {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The settings file {path} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from None


def _settings_table(path: Path, data: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """The whole file, or `[tool.equiaudit]` of a pyproject.toml."""
    if path.name != "pyproject.toml":
        return data
    tool = data.get("tool", {})
    table = tool.get("equiaudit") if isinstance(tool, dict) else None
    if table is None and not required:
        return {}
    if not isinstance(table, dict):
        raise InputError(f"{path} has no table [tool.equiaudit].")
    return table


def _beside(path: Path, value: Any) -> Any:
    """A path in a settings file is relative to that file."""
    return path.parent / value if isinstance(value, str) else value


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
