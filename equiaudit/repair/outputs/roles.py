"""What each output of a model is: told by the user, or read by evidence, or refused by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from equiaudit.errors import InputError
from equiaudit.repair.outputs.following import Following
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.sampling.positions import Map, PositionKind, Positions, Role, Unit

__all__ = [
    "Misfit",
    "Reading",
    "Refused",
    "Told",
    "looks_like_positions",
    "read_outputs",
    "told_of",
]

_KINDS = ("boxes", "keypoints", "none")
_UNITS = ("px", "share")
_GRAMMAR = "It is boxes, keypoints or none; boxes:px and boxes:share say the unit."
_WIDTHS = {4: "boxes", 2: "points"}
_NAMES = ("landmark", "keypoint", "kpt", "kps", "box", "corner", "joint", "coord", "point")


@dataclass(frozen=True)
class Misfit:
    """Why a method does not fit a model: a sentence each for the reason and the remedy."""

    reason: str
    remedy: str | None = None


class Refused(Exception):
    """An output that cannot be read; carries the Misfit."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(misfit.reason)
        self.misfit = misfit


@dataclass(frozen=True)
class Told:
    """What --positions says of one output: its place, None for "none", and the unit if given."""

    place: int
    kind: PositionKind | None
    unit: Unit | None


@dataclass(frozen=True)
class Reading:
    """What every output is, and what is worth saying of how that was found."""

    roles: tuple[Role, ...]
    notes: tuple[str, ...]


def told_of(names: Sequence[str], told: Sequence[tuple[str, str]], model: str) -> list[Told]:
    """--positions for outputs of these names; InputError for what there is not."""
    return [_told(names, name, said, model) for name, said in told]


def _told(names: Sequence[str], name: str, said: str, model: str) -> Told:
    kind, colon, unit = said.partition(":")
    if kind not in _KINDS or (colon and (unit not in _UNITS or kind == "none")):
        raise InputError(f"--positions says {said!r} of {name!r}.", tip=_GRAMMAR)
    place = _place(names, name, model)
    known = cast(PositionKind, kind) if kind != "none" else None
    return Told(place, known, cast(Unit, unit) if unit else None)


def _place(names: Sequence[str], name: str, model: str) -> int:
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise InputError(
        f"{model} has no output {name!r}.", tip=f"It has {', '.join(map(repr, names))}."
    )


def read_outputs(
    every: EveryRun,
    told: Sequence[Told],
    following: Mapping[int, Following],
    *,
    main: tuple[int, Role],
    size: tuple[int, int],
    model: str,
    channels_first: bool = False,
    declared: Mapping[int, Role] | None = None,
) -> Reading:
    """The role of each output; `main` is the place and the role of the one that was loaded for.

    `following` has what small shifts do to outputs that are no maps; `channels_first` settles
    maps whose shape fits both layouts, as of torch modules. `declared` has roles that a detector's
    declaration says, by place. Raises Refused, naming the
    output, where it could be positions or a map that cannot be put back, and InputError where
    what was told of it contradicts what it does.
    """
    if every.numbers:
        raise Refused(Misfit(f"{model} returns numbers that are no tensors, which would be lost."))
    by_place = {one.place: one for one in told}
    known = declared or {}
    # Rows beside those that are relative to cells or anchors may be so too, and do not follow.
    relative = any(isinstance(role, Positions) and role.strides for role in known.values())
    rows_told = _rows_told(every, by_place if relative else {*by_place, *known})
    roles: list[Role] = []
    notes: list[str] = []
    for place, (name, shape) in enumerate(zip(every.names, every.shapes, strict=True)):
        one = _One(name, shape, place, model, size, following.get(place), every, channels_first)
        if place in by_place:
            role, said = one.told(by_place[place])
        elif place in known:
            role, said = known[place], one.declared(known[place])
        elif place == main[0]:
            role, said = one.main(main[1])
        else:
            role, said = one.found(rows_told)
        roles.append(role)
        notes += [said] if said else []
    return Reading(tuple(roles), tuple(notes))


def _rows_told(every: EveryRun, told: Collection[int]) -> set[int]:
    """How many rows the outputs have that were told: scores beside them have as many."""
    return {every.shapes[place][-2] for place in told if len(every.shapes[place]) > 1}


@dataclass(frozen=True)
class _One:
    """One output."""

    name: str
    shape: tuple[int, ...]
    place: int
    model: str
    size: tuple[int, int]
    following: Following | None
    every: EveryRun
    channels_first: bool

    @property
    def shown(self) -> str:
        return f"Output {self.name!r} of {self.model}"

    def told(self, told: Told) -> tuple[Role, str | None]:
        """As the user said, where nothing speaks against it."""
        if told.kind is None:
            return None, None
        width, least = self.shape[-1] if self.shape else 0, 4 if told.kind == "boxes" else 2
        pairs = told.kind == "keypoints" and len(self.shape) == 2
        if len(self.shape) < 2 or width < least or (pairs and width % 2):
            shape = "x".join(map(str, self.shape[1:])) or "one number"
            raise InputError(
                f"{self.shown} is {shape} per image, which cannot be {told.kind}.",
                tip="Boxes are rows of 4 numbers or more; points rows of 2 or more, or pairs"
                " in one row.",
            )
        unit = told.unit or self._unit(told.kind)
        role = Positions(told.kind, unit)
        against = self.following.contradiction(role, self.size) if self.following else None
        if against is not None:
            raise InputError(
                f"{self.shown} is no {told.kind} in {_unit(unit)}: {against}.", tip=_GRAMMAR
            )
        how = "said" if told.unit else "its values"
        return role, f"output {self.name!r} holds {told.kind} in {_unit(unit)}, by {how}"

    def declared(self, role: Role) -> str | None:
        """What is said of a role that the declaration of a detector gives."""
        if not isinstance(role, Positions):
            return None
        where = f"in {_unit(role.unit)}" if not role.strides else "in cells of its grids"
        if role.anchors:
            where = "in shares of its anchors"
        what = "key points" if len(self.shape) == 4 else "boxes"
        return f"output {self.name!r} holds {what} {where}, by the declaration"

    def _unit(self, kind: PositionKind) -> Unit:
        found = None if self.following is None else self.following.unit(kind)
        if found is None:
            raise InputError(
                f"{self.shown}: its values do not tell whether they are px or shares of the image.",
                tip=f"Say --positions {self.name}={kind}:px, or {kind}:share.",
            )
        return found

    def main(self, role: Role) -> tuple[Role, str | None]:
        """As it was loaded; scores that follow the image are none."""
        if isinstance(role, Map):
            last = role.channels_last or len(self.shape) == 3
            if not self._fits(*(self.shape[1:3] if last else self.shape[2:])):
                raise self._no_map(
                    "is no map of whole steps of the input, so it cannot be put back"
                )
            return role, None
        if len(self.shape) == 3:
            raise self._rows()
        self._refuse_followers()
        self._refuse_name()
        return role, None

    def _refuse_followers(self) -> None:
        seen = self.following
        if seen is None or not seen.like_positions:
            return
        raise self._refused(
            f"follows the image: {seen.moving} of its {len(seen.rows)} numbers move with it, as"
            " positions do, and would stay where the rolled image has them",
            f"--positions {self.name}=keypoints (x before y), =boxes (x1, y1, x2, y2), or =none"
            " where they are scores.",
        )

    def found(self, rows_told: set[int]) -> tuple[Role, str | None]:
        """A further output, by its shape and by what shifts do to it."""
        rank = len(self.shape)
        if rank == 4 and self.shape[2:] == (1, 1):
            return None, None
        if rank == 4 or (rank == 3 and self._is_flat_map()):
            return self._map(), None
        if rank == 3 and self.shape[1] not in rows_told:
            raise self._rows()
        if rank > 4:
            raise self._refused(
                f"has {rank} axes, and is neither a map nor a row per image",
                f"Leave it out of the export, or say --positions {self.name}=none.",
            )
        if rank == 2 and self.shape[0] != self.every.probed:
            raise self._rows()
        if rank < 3:
            self._refuse_name()
        self._refuse_followers()
        return None, None

    def _refuse_name(self) -> None:
        if any(part in self.name.lower() for part in _NAMES):
            raise self._refused(
                "has the name of positions, which would stay where the rolled image has them",
                f"--positions {self.name}=keypoints, =boxes or =none.",
            )

    def _is_flat_map(self) -> bool:
        """(N, h, w) in the proportions of the input."""
        height, width = self.shape[1:]
        same = height * self.size[1] == width * self.size[0]
        return same and min(height, width) > 4 and self._fits(height, width)

    def _fits(self, height: int, width: int) -> bool:
        pairs = zip((height, width), self.size, strict=True)
        return all(steps > 0 and (steps % side == 0 or side % steps == 0) for steps, side in pairs)

    def _map(self) -> Role:
        if len(self.shape) == 3:
            return Map()
        first, last = self.shape[2:], self.shape[1:3]
        fits = [self._fits(*first), self._fits(*last)]
        if all(fits) and self._proportions(*first) != self._proportions(*last):
            fits = [self._proportions(*first), self._proportions(*last)]
        if fits == [True, False] or (all(fits) and self.channels_first):
            return Map()
        if fits == [False, True]:
            return Map(channels_last=True)
        raise self._no_map(
            "could be a map with its channels first or last"
            if all(fits)
            else "is no map of whole steps of the input, so it cannot be put back"
        )

    def _no_map(self, why: str) -> Refused:
        shape = "x".join(map(str, self.shape[1:]))
        return self._refused(
            f"({shape} per image) {why}",
            f"--positions {self.name}=none where it says nothing about places; else leave it out of"
            " the export.",
        )

    def _proportions(self, height: int, width: int) -> bool:
        return height * self.size[1] == width * self.size[0]

    def _rows(self) -> Refused:
        kind = _WIDTHS.get(self.shape[-1])
        count = self.shape[1] if len(self.shape) == 3 else "some"
        if kind is None:
            return self._refused(
                f"is {count} rows of {self.shape[-1]}, which may belong to places of the image",
                f"--positions {self.name}=boxes or =keypoints where they begin with such, or =none"
                " where they say nothing about places.",
            )
        return self._refused(
            f"is {count} rows of {self.shape[-1]}, which look like {kind}, and would stay where"
            " the rolled image has them",
            f"--positions {self.name}={'boxes' if kind == 'boxes' else 'keypoints'} (x before y;"
            f" :px or :share says the unit), or {self.name}=none where they are something else.",
        )

    def _refused(self, why: str, tip: str) -> Refused:
        said = f"Add {tip}" if tip.startswith("--") else tip
        return Refused(Misfit(f"{self.shown} {why}.", said))


def _unit(unit: Unit) -> str:
    return "px" if unit == "px" else "shares of the image"


def looks_like_positions(
    every: EveryRun | None, told: Sequence[tuple[str, str]], model: str
) -> Misfit | None:
    """Why a model with outputs of rows of 4 or 2 cannot be wrapped by what cannot move them."""
    if every is None:
        return None
    if every.ragged:
        return ragged(model)
    known = {name for name, _ in told}
    return next(_unnamed(every, known, model), None)


def ragged(model: str) -> Misfit:
    """Lists with one entry per image."""
    return Misfit(
        f"{model} returns a list with one entry per image, as detectors do, and positions in"
        " it would stay where the rolled image has them.",
        "Export it with tensors (N, K, 4) for boxes, and name those with --positions.",
    )


def _unnamed(every: EveryRun, known: set[str], model: str) -> Iterator[Misfit]:
    for place, (name, shape) in enumerate(zip(every.names, every.shapes, strict=True)):
        kind = _WIDTHS.get(shape[-1]) if len(shape) == 3 else None
        if kind is not None and not {name, str(place)} & known:
            yield Misfit(
                f"Output {name!r} of {model} is {shape[1]} rows of {shape[2]}, which look like"
                f" {kind}, and would stay where the rolled image has them.",
                f"Add --positions {name}=none where they are something else.",
            )
