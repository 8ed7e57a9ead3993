"""canonical for detectors that return a dict per image."""

from __future__ import annotations

from dataclasses import replace

from equiaudit.errors import NothingToDo
from equiaudit.repair.canonical.lists import canonical_lists
from equiaudit.repair.methods.converted import Converted
from equiaudit.repair.methods.subject import Subject
from equiaudit.repair.save.script_net import DictsNet
from equiaudit.repair.verify.every_output import EveryOutput
from equiaudit.sampling.positions import Map, Positions, Role

_ROLES: dict[str, Role] = {
    "boxes": Positions("boxes"),
    "keypoints": Positions("keypoints"),
    "masks": Map(),
}


def of_lists(inner: Converted, subject: Subject) -> Converted:
    """The scripted module behind the roll, with what it returns of each image moved back."""
    model, how = subject.model, inner.preprocess
    if model.module is None:
        raise NothingToDo(f"{model.name} runs outside torch, and has no module to script.")
    names = subject.keys
    whole = canonical_lists(model.module, how.planes, how.size)
    roles = tuple(_ROLES.get(name) for name in names)
    check = EveryOutput(how.size, roles, names, 1, declared=frozenset(range(len(names))))
    moved = ", ".join(name for name in names if name in _ROLES)
    note = f"moved back for each image: {moved}; boxes and points with their centres in the image"
    return replace(
        inner,
        net=DictsNet(whole, names),
        original=subject.original,
        check=check,
        notes=(*inner.notes, note),
    )
