"""Verify every output of a model: positions and maps move with the image, the others stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from equiaudit.repair.outputs.following import every_following
from equiaudit.repair.verify.borders import borders_of
from equiaudit.repair.verify.circular import shifted_like
from equiaudit.repair.verify.engine import Run, Shift, Trial
from equiaudit.repair.verify.exactness import exact_arithmetic
from equiaudit.repair.verify.images import with_objects
from equiaudit.repair.verify.schedule import breaking_period, schedule
from equiaudit.results.repair import CRITERION, ShiftErrors, Verification
from equiaudit.sampling.positions import Map, Positions, Role, cells_of

__all__ = ["ROUNDINGS", "EveryOutput", "Roles", "faults"]

_CONTROL = 64
ROUNDINGS = 4
"""Steps of a floating-point type: each of the two outputs has added a shift, the expected one
another, and a decoder multiplies by the stride before."""


@dataclass(frozen=True)
class EveryOutput:
    """The check for a model that rolls its input and whose outputs have these `roles`.

    A comparison is one output of one image at one shift. Positions are compared on the torus,
    where a difference of a whole image is none; adding a shift rounds, so that coordinates agree
    to `ROUNDINGS` of their type at the size of the image, and what follows them to the bit. Of the
    outputs that are `declared` the others too agree to the bit, or do not at all. Maps in steps
    coarser than a px may come out at either neighbouring step. Whether the roles are right is
    asked of the unmodified model (see `following`): a file that moves shares as if they were px
    moves them the same way every time.
    """

    size: tuple[int, int]
    roles: tuple[Role, ...]
    names: tuple[str, ...]
    batch: int = 8
    """Images at once; 1 where the outputs have no row per image."""
    declared: frozenset[int] = frozenset()
    """Places of the outputs whose roles a detector's declaration says."""
    stride: tuple[int, int] | None = None
    """Total stride, where shifts by multiples of it may be left out."""

    def __call__(
        self,
        run: Run,
        original: Run | None,
        images: Mapping[str, Tensor],
        *,
        device: str,
        comparisons: int,
        seed: int,
        subject: str,
        until: float = inf,
    ) -> Verification:
        """Over random circular shifts of every image."""
        # Where an image equals a shift of itself, nothing says which of its places is which.
        moving = any(role is not None for role in self.roles)
        periodic = [
            n for n, x in images.items() if moving and breaking_period(x, self.size) is not None
        ]
        names = [name for name in images if name not in periodic]
        stack = torch.stack([images[name] for name in names]).to(device)
        stride = self.stride or self.size
        bounded = until < inf
        plan = schedule(len(names), self.size, stride, comparisons, seed, bounded=bounded)
        trial = Trial(names, stack, plan, block=self.batch, until=until)
        matching = Roles(self.size, self.roles, self.declared)
        with exact_arithmetic():
            figures, done = trial.compared(run, matching)
            control: ShiftErrors | None = None
            wrong: tuple[str, ...] = ()
            if original is not None:
                control = trial.first(min(_CONTROL, comparisons)).errors(original, matching)
                wrong = tuple(self._faults(original, images, device))
        return trial.record(
            figures,
            control,
            plan=done,
            subject=subject,
            passed=figures.passed and not wrong,
            criterion=f"{CRITERION}; positions on the torus and maps, moved by the shift",
            faults=wrong,
            total_stride=stride,
            periodic_images=tuple(periodic),
            borders=borders_of(images.items()),
            dense=False,
        )

    def _faults(self, original: Run, images: Mapping[str, Tensor], device: str) -> Sequence[str]:
        objects = {name: x.to(device) for name, x in with_objects(images).items()}
        run = lambda x: _several(original(x))  # noqa: E731
        return faults(
            run, objects, self.roles, self.names, self.size, self.batch, skip=self.declared
        )


@dataclass(frozen=True)
class Roles:
    """Every output, each as its role moves with an image of `size`, on a `torus` or beyond it."""

    size: tuple[int, int]
    roles: tuple[Role, ...]
    declared: Collection[int] = ()
    threshold: float | None = None
    torus: bool = True

    def outputs(self, run: Run, batch: Tensor) -> Sequence[Tensor]:
        """All of them."""
        return _several(run(batch))

    def pairs(
        self,
        images: slice,
        shifts: Sequence[Shift],
        before: Sequence[Tensor],
        after: Sequence[Tensor],
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each output of each image, the one before the shift moved by it."""
        count = len(shifts)
        for place, (role, old, new) in enumerate(zip(self.roles, before, after, strict=True)):
            if old.shape != new.shape:  # another number of boxes
                old, new = torch.zeros(1), torch.full((1,), torch.inf)
            elif isinstance(role, Positions):
                old = self._moved(old, torch.tensor(shifts, device=old.device), role)
                new = self._nearest(old, new, role)
            elif role is None and place in self.declared:
                new = _or_nothing(old, new)
            for i, shift in enumerate(shifts):
                whole = count == 1 or len(old) != count
                pair = (old, new) if whole else (old[i : i + 1], new[i : i + 1])
                if isinstance(role, Map) and pair[0].dim() > 1:
                    pair = _aligned(role, *pair, shift, self.size)
                yield i, pair[0].reshape(1, -1), pair[1].reshape(1, -1)

    def _moved(self, y: Tensor, shifts: Tensor, role: Positions) -> Tensor:
        """`y` moved by `shifts` (B, 2), past the border where they lead there.

        By itself, not by what moves positions in files, which is under test.
        """
        rows = y.reshape(len(y), -1, 2) if role.flat(y.dim()) else role.rows(y)
        by = shifts.flip(1).to(rows.dtype).reshape(-1, *([1] * (rows.dim() - 2)), 2)
        if role.unit == "share":
            by = by / rows.new_tensor([self.size[1], self.size[0]])
        if role.strides:
            by = by / cells_of(role, self.size)[:, 2:].to(rows)
        moved = rows.clone()
        for corner in range(role.corners):
            moved[..., 2 * corner : 2 * corner + 2] += by
        return moved.flatten(1) if role.flat(y.dim()) else role.back(moved)

    def _nearest(self, expected: Tensor, found: Tensor, role: Positions) -> Tensor:
        """`found` with whole images added so that it lies nearest to `expected`, and as expected
        where only the rounding of two additions lies between."""
        if role.flat(expected.dim()):
            first, second = (y.reshape(len(y), -1, 2) for y in (expected, found))
            return self._nearest(first, second, role).flatten(1)
        old, new = role.rows(expected), role.rows(found)
        n = 2 * role.corners
        around = old.new_tensor([self.size[1], self.size[0]]).repeat(role.corners)
        if role.unit == "share":
            around = torch.ones_like(around)
        if role.strides:
            around = around / cells_of(role, self.size)[:, 2:].to(old)
        places = new[..., :n]
        if self.torus:
            places = places + torch.round((old[..., :n] - places) / around) * around
        within = ROUNDINGS * _step(old) * torch.maximum(around, old[..., :n].abs())
        rounded = (places - old[..., :n]).abs() <= within
        places = torch.where(rounded, old[..., :n], places)
        return role.back(torch.cat([places, _or_nothing(old[..., n:], new[..., n:])], -1))


def _step(y: Tensor) -> float:
    return torch.finfo(y.dtype).eps if y.is_floating_point() else 0.0


def _or_nothing(expected: Tensor, found: Tensor) -> Tensor:
    """`found`, infinite where it has not the bits expected."""
    same = (expected == found) | (torch.isnan(expected) & torch.isnan(found))
    if bool(same.all()):
        return expected
    return torch.where(same, expected.double(), torch.inf)


def faults(
    original: Callable[[Tensor], Sequence[Tensor]],
    images: Mapping[str, Tensor],
    roles: Sequence[Role],
    names: Sequence[str],
    size: tuple[int, int],
    batch: int,
    skip: Collection[int] = (),
) -> list[str]:
    """What the unmodified model does that speaks against the roles, a sentence each, but for the
    places to `skip`."""
    places = [k for k, role in enumerate(roles) if not isinstance(role, Map) and k not in skip]
    found = []
    for place, seen in every_following(original, images, places, batch).items():
        role = roles[place]
        if isinstance(role, Positions):
            why = seen.contradiction(role, size)
            if why is not None:
                found.append(f"output {names[place]!r} is no {role.kind} in {role.unit}: {why}")
        elif seen.like_positions:
            found.append(
                f"output {names[place]!r} of the unmodified model follows the image in"
                f" {seen.moving} of {len(seen.rows)} numbers, as positions do, and here it stays"
            )
    return found


def _aligned(
    role: Map, old: Tensor, new: Tensor, shift: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Both maps as (C, h, w), the first one moved as the image was."""
    first, second = role.first(old)[0], role.first(new)[0]
    return shifted_like(first, second, shift, size), second


def _several(outputs: object) -> Sequence[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [y for y in outputs if isinstance(y, Tensor)]  # type: ignore[attr-defined]
