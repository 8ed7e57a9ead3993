"""Settle every setting: command line, then environment, then file, then default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from equiaudit.config.checks import nearest
from equiaudit.config.flags import flag_name, reason
from equiaudit.config.settings import Settings
from equiaudit.errors import InputError

ENV_PREFIX = "EQUIAUDIT_"
_ENV_OF_OTHERS = ("EQUIAUDIT_CONFIG", "EQUIAUDIT_CASES")
_PATHS = ("preprocess", "labels", "classes", "output", "baseline")
_COMMAND_LINE_ONLY = ("trust",)
"""A settings file may arrive with the model it is to be wary of."""


@dataclass(frozen=True)
class Resolved:
    """The settings in force, and where each that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)
    """Setting -> "--max-shift", "EQUIAUDIT_MAX_SHIFT" or "max-shift in equiaudit.toml"."""
    notes: tuple[str, ...] = ()


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
        raise InputError(f"{origin}: {reason(value, first['msg'])}") from None


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
            notes.append(f"{variable} is not a setting. {nearest(variable, known)}")
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
            raise InputError(f"{path}: {key!r} is not a setting.", tip=nearest(key, known))
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
    except (ValueError, RecursionError) as error:  # an int of too many digits is a ValueError
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
    """A path in a settings file is relative to that file; a URL is none."""
    if not isinstance(value, str) or "://" in value:
        return value
    return str(path.parent / value)
