"""equiaudit doctor: what is installed, which devices and backends answer, what is missing."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

import typer

from equiaudit._version import __version__
from equiaudit.cli.command import Call, Outcome, verb

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*(?:>=\s*(?P<least>[\w.]+))?[^;]*(?:;(?P<when>.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_OURS = ("dev",)
"""Extras of whoever works on equiaudit itself."""
_WIDTH = 15


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    verb(app, "doctor", flags=())(doctor)


def doctor(call: Call) -> Outcome:
    """Say which versions, backends and devices there are, and which extras are missing.

    Exit code 3 when a package that every run needs is missing, too old or does not start.
    """
    required, extras = _requirements()
    lines = [_line("equiaudit", f"{__version__}, Python {platform.python_version()}, {_machine()}")]
    lines += [_line(name, _installed(name, least)) for name, least in required]
    faults = [name for name, least in required if _fault(name, least)]
    lines.append("")
    for name, found in _runtimes():
        lines.append(_line(name, found.text))
        faults += [name] if found.broken else []
    if extras:
        lines += ["", *(_line(f"[{extra}]", _extra(extra, names)) for extra, names in extras)]
    lines += ["", _verdict(faults)]
    return Outcome("\n".join(lines) + "\n", 3 if faults else 0)


def _line(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}} {text}"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


Requirement = tuple[str, str | None]


def _requirements() -> tuple[list[Requirement], list[tuple[str, list[Requirement]]]]:
    """What every run needs, and what each extra adds, as the installed package states them."""
    try:
        stated = metadata.requires("equiaudit") or []
    except metadata.PackageNotFoundError:
        return [(name, None) for name in ("torch", "torchvision", "onnx", "onnxruntime")], []
    required: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for each in stated:
        parts = _REQUIREMENT.match(each)
        if parts is None:
            continue
        extra = _EXTRA.search(parts["when"] or "")
        if extra is None:
            required.append((parts["name"], parts["least"]))
        elif extra[1] not in _OURS:
            extras.setdefault(extra[1], []).append((parts["name"], parts["least"]))
    return required, list(extras.items())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fault(name: str, least: str | None) -> str:
    """Why the package will not do; empty when it will."""
    found = _version(name)
    if found is None:
        return "missing"
    return f"older than {least}" if least and _numbers(found) < _numbers(least) else ""


def _numbers(version: str) -> tuple[int, ...]:
    release = version.split("+")[0]
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


def _installed(name: str, least: str | None) -> str:
    fault = _fault(name, least)
    return ", ".join(part for part in (_version(name), fault) if part)


def _extra(extra: str, names: list[Requirement]) -> str:
    if any(_fault(name, least) for name, least in names):
        return f"missing: pip install 'equiaudit[{extra}]'"
    return ", ".join(f"{name} {_version(name)}" for name, _ in names)


@dataclass(frozen=True)
class _Found:
    """What a runtime answers."""

    text: str
    broken: bool = False


def _runtimes() -> Iterator[tuple[str, _Found]]:
    """Each runtime is started, since an installed one may still lack its libraries."""
    for name, ask in (("device", _devices), ("backend torch", _torch), ("onnxruntime", _onnx)):
        try:
            yield name, _Found(ask())
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            yield name, _Found(f"does not start: {type(error).__name__}: {first}", broken=True)


def _devices() -> str:
    import torch

    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return ", ".join(f"cuda:{index} {name}" for index, name in enumerate(names))
    built = torch.version.cuda
    why = f"torch is built for CUDA {built} and finds no device" if built else "a CPU build"
    return f"cpu, {torch.get_num_threads()} threads; no cuda: {why}"


def _torch() -> str:
    import shutil

    compilers = [name for name in ("g++", "clang++", "c++") if shutil.which(name)]
    compiles = f"compile by {compilers[0]}" if compilers else "no C++ compiler, so no compile"
    return f"eager; {compiles}"


def _onnx() -> str:
    import onnxruntime

    return ", ".join(onnxruntime.get_available_providers())


def _verdict(faults: list[str]) -> str:
    if not faults:
        return "Everything that scan, fix and verify need is there."
    return f"Not usable as it is: {', '.join(faults)}. Install again with pip install equiaudit."
