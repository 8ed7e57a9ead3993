"""The methods of `fix`: one object each, found by name, combined with "+".

To add a method, write `methods/<name>.py` with a frozen dataclass that fits `protocol.Method` (it
turns the captured graph into another one) or `protocol.Wrapper` (it puts something around any
net), and list it in `METHODS`.

`method("mass")` is a method by itself. In `method("crop-select+mass")` the last part converts the
net and those before it are wrapped around the result, the first one outermost; they have to be
wrappers. A combination that is listed under its own name, such as ``mass+lpf``, is one method:
both parts change the same ops.
"""

from __future__ import annotations

from equiaudit.errors import InputError
from equiaudit.repair.methods.border import Border
from equiaudit.repair.methods.canonical import CanonicalInput
from equiaudit.repair.methods.converted import Converted, Recover
from equiaudit.repair.methods.crop_select import CropSelectInput
from equiaudit.repair.methods.mass import Mass
from equiaudit.repair.methods.polyphase import POLYPHASE
from equiaudit.repair.methods.protocol import Method, Wrapper
from equiaudit.repair.methods.recipe import Recipe
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.options import FixOptions
from equiaudit.repair.outputs.roles import Misfit
from equiaudit.repair.save.graph_net import GraphNet
from equiaudit.repair.save.net import Net
from equiaudit.repair.verify.check import Check

__all__ = [
    "COMPARED",
    "METHODS",
    "Check",
    "Converted",
    "FixOptions",
    "GraphNet",
    "Method",
    "Misfit",
    "Net",
    "Recipe",
    "Recover",
    "Subject",
    "Wrapper",
    "method",
]

METHODS: dict[str, Method | Wrapper] = {
    found.name: found
    for found in (
        Mass(),
        CanonicalInput(),
        CropSelectInput(),
        Border(),
        *POLYPHASE,
    )
}

COMPARED = ("mass", "canonical", "canonical+border", "crop-select")
"""What `--compare-methods` measures: methods that are of use as they are, without training."""


def method(name: str) -> Recipe:
    """The method called `name`, which may be a combination; InputError lists those there are."""
    wrappers, rest = [], name
    while rest not in METHODS:
        head, plus, rest = rest.partition("+")
        outer = METHODS.get(head)
        if not plus or outer is None:
            raise InputError(f"There is no method {name!r}.", tip=_there_is())
        if not isinstance(outer, Wrapper):
            raise InputError(
                f"{name!r} is no combination: {head} changes ops and cannot be put around {rest}.",
                tip=_there_is(),
            )
        wrappers.append(outer)
    core = METHODS[rest]
    if isinstance(core, Wrapper):
        return Recipe(name, (*wrappers, core), None)
    return Recipe(name, tuple(wrappers), core)


def _there_is() -> str:
    """Names by themselves, and how they combine."""
    wrappers = [name for name, found in METHODS.items() if isinstance(found, Wrapper)]
    single = ", ".join(name for name in METHODS if "+" not in name)
    around = ", ".join(f"{name}+..." for name in wrappers)
    return f"There is {single}; mass, aps, lps or caps with a filter, as in mass+lpf; and {around}."
