"""The verbs as Python calls them: what goes wrong is said in parameters, not in flags.

Errors name options as the command line has them, since most are read there. At this border
``--size HxW`` becomes ``size=(H, W)``; the functions themselves are those of `equiaudit.api`.
"""

from __future__ import annotations

import inspect as introspection
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from equiaudit import api
from equiaudit.config import Settings
from equiaudit.config.flags import declared
from equiaudit.errors import EquiauditError
from equiaudit.kinds import KINDS
from equiaudit.repair.options import FixOptions, Measuring, Stages
from equiaudit.tasks import TASKS

if TYPE_CHECKING:
    from torch import nn

P = ParamSpec("P")
R = TypeVar("R")

_RENAMED = {"gate": "gates"}
_NO = {"no-accuracy-check": "accuracy_check", "no-resume": "resume"}
_DECLARED = {
    name: option
    for group in (Settings, Measuring, FixOptions, Stages)
    for name, option in declared(group).items()
}
_WORDS = "|".join(
    [
        *(*TASKS, *KINDS, "cpu", "cuda", "mass", "crop-select", r"canonical(?:\+border)?"),
        *(word for option in _DECLARED.values() for word in option.words),
    ]
)
_PLACES = r"[A-Z]+(?:[x,:][A-Z]+)*(?:\.csv)?|[a-z]+(?:\|[a-z]+)+"
_VALUE = rf"(?: (?P<value>{_PLACES}|\d[\dx.]*%?|(?:{_WORDS})(?:,[a-z-]+)*)(?![\w-]))?"
_FLAG = re.compile(rf"(?<![\w-])--(?P<flag>[a-z]+(?:-[a-z]+)*){_VALUE}")
_OUTPUT = re.compile(r"(?<![\w-])-o(?: (?P<value>OUT|DIR))?(?![\w-])")
_INPUTS = re.compile(r"--input \S+?=\w+(?: --input \S+?=\w+)*")
_TUPLES = ("size", "mean", "std", "stride")


def in_python(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with errors that speak of parameters, and its own name for a wrong one."""
    known = _parameters(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if known and name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{function.__name__}() has no parameter {name!r}.{hint}")
        modes = _modes(args[0] if args else kwargs.get("model"))
        try:
            with ExitStack() as files:
                given = _on_disk(files, list(args), dict(kwargs), known)
                return function(*given[0], **given[1])
        except EquiauditError as error:
            error.message = in_parameters(error.message)
            error.tip = None if error.tip is None else in_parameters(error.tip)
            error.args = (error.message,)
            raise
        finally:
            for module, training in modes if function is not api.load_model else ():
                if module.training != training:
                    module.training = training

    return call


def _on_disk(
    files: ExitStack, args: list[Any], kwargs: dict[str, Any], known: Sequence[str]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments, with images that are in memory as a folder until `files` is closed."""
    if not known:
        return args, kwargs
    named = dict(zip(known, args, strict=False)) | kwargs
    for name in ("data", "train_data"):
        held = named.get(name)
        if isinstance(held, str) or not hasattr(held, "__getitem__"):
            continue
        from equiaudit.api.in_memory import in_files

        most = named.get("limit" if name == "data" else "train_limit")
        how = {"limit": most, "seed": named.get("seed", 0)}
        folder, more = files.enter_context(in_files(held, **how))
        named |= {name: folder} | (more if name == "data" else {})
    first = [named.pop(name) for name in known[: len(args)]]
    return first, named


def _modes(model: object) -> list[tuple[nn.Module, bool]]:
    """Whether each part of a module is in training, which an audit within a training gives back."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return []
    return [(part, part.training) for part in model.modules()]


def in_parameters(text: str) -> str:
    """`text` with the flags that are parameters of some verb written as such."""
    text = _OUTPUT.sub(lambda hit: 'out="OUT"' if hit["value"] == "OUT" else "output", text)
    text = _INPUTS.sub(lambda hit: f"input={hit[0].split()[1::2]}", text)
    return _FLAG.sub(_as_parameter, text)


def _as_parameter(hit: re.Match[str]) -> str:
    flag, value = hit["flag"], hit["value"]
    if flag in _NO:
        return f"{_NO[flag]}=False"
    name = flag.replace("-", "_")
    name = _RENAMED.get(name, name)
    if f"{name}_" in _all_parameters():  # A word of the language has a line behind it.
        name = f"{name}_"
    if name not in _all_parameters():
        return hit[0]
    if name in _DECLARED and _DECLARED[name].is_switch:
        return f"{name}=True" + ("" if value is None else f" {value}")
    return name if value is None else f"{name}={_written(name, value)}"


def _written(name: str, value: str) -> str:
    """A value as Python has it."""
    if "|" in value:
        return " or ".join(f'"{each}"' for each in value.split("|"))
    if name in _TUPLES:
        parts = re.split("[x,]", value)
        if len(parts) == 1:
            return f"({value},)" if name in ("mean", "std") else f"({value}, {value})"
        return f"({', '.join(parts)})"
    if name == "gates":
        return f'["{value}"]'
    if name == "shifts":
        return repr(tuple(value.split(","))).replace("'", '"')
    if value.endswith("%"):
        return f"{float(value[:-1]) / 100:g}"
    return value if re.fullmatch(r"[\d.]+|[A-Z]", value) else f'"{value}"'


def _parameters(function: Callable[..., object]) -> tuple[str, ...]:
    """The names that a call may have, also those that it passes on as a TypedDict.

    None at all where it passes on whatever it is given.
    """
    found = introspection.signature(function).parameters.values()
    own = [p.name for p in found if p.kind is not p.VAR_KEYWORD]
    rest = [str(p.annotation) for p in found if p.kind is p.VAR_KEYWORD]
    if not rest:
        return tuple(own)
    packed = re.fullmatch(r"Unpack\[(\w+)\]", rest[0])
    more = getattr(function, "__globals__", {}).get(packed[1]) if packed else None
    return () if more is None else (*own, *more.__annotations__)


@cache
def _all_parameters() -> frozenset[str]:
    verbs = (api.scan, api.fix, api.verify, api.inspect, api.load_model)
    return frozenset(name for verb in verbs for name in _parameters(verb))


scan = in_python(api.scan)
fix = in_python(api.fix)
verify = in_python(api.verify)
inspect = in_python(api.inspect)
load_model = in_python(api.load_model)
