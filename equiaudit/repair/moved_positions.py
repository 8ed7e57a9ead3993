"""Verify: positions of a shifted image are the shifted positions, and other outputs are equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from equiaudit.repair.borders import borders_of
from equiaudit.repair.exactness import SETTINGS, exact_arithmetic
from equiaudit.repair.periodic import breaking_period
from equiaudit.repair.phases import Schedule, schedule
from equiaudit.repair.tally import Tally
from equiaudit.results.repair import CRITERION, Mismatch, ShiftErrors, Verification
from equiaudit.sampling.positions import PositionKind, roll_positions

__all__ = ["MovedPositions"]

_BLOCK = 8
_CONTROL = 64
_PROVES_NOTHING = (
    "The unmodified model passes the same check, so passing proves nothing about the conversion."
)

Run = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class MovedPositions:
    """The check for a model that rolls its input and whose outputs are of these `kinds`.

    A comparison is one output of one image at one shift. Positions are compared on the torus,
    where a difference of a whole image is none; adding a shift rounds, so that they agree to
    rounding, not to the bit.
    """

    size: tuple[int, int]
    kinds: tuple[PositionKind | None, ...]

    def __call__(
        self,
        run: Run,
        original: Run,
        images: Mapping[str, torch.Tensor],
        *,
        device: str,
        comparisons: int,
        seed: int,
        subject: str,
    ) -> Verification:
        """Over random circular shifts of every image."""
        # Where an image equals a shift of itself, nothing says which of its places is which.
        periodic = [n for n, x in images.items() if breaking_period(x, self.size) is not None]
        names = [name for name in images if name not in periodic]
        stack = torch.stack([images[name] for name in names]).to(device)
        plan = schedule(len(names), self.size, self.size, comparisons, seed)
        with exact_arithmetic():
            figures = self._errors(run, names, stack, plan)
            control = self._errors(original, names, stack, plan.first(_CONTROL))
        return Verification(
            subject=subject,
            passed=figures.passed,
            criterion=f"{CRITERION}; positions on the torus, moved by the shift",
            figures=figures,
            control=control,
            total_stride=self.size,
            phases=plan.phases,
            phases_total=plan.phases_total,
            coverage=plan.coverage,
            images=tuple(names),
            periodic_images=tuple(periodic),
            borders=borders_of(images.items()),
            dense=False,
            dtype=str(stack.dtype).removeprefix("torch."),
            device=stack.device.type,
            torch_version=torch.__version__,
            threads=torch.get_num_threads(),
            settings=SETTINGS,
            warnings=(_PROVES_NOTHING,) if control.passed else (),
        )

    def _errors(
        self, run: Run, names: Sequence[str], stack: torch.Tensor, plan: Schedule
    ) -> ShiftErrors:
        tally = Tally(threshold=None)
        for start in range(0, len(names), _BLOCK):
            block = slice(start, min(start + _BLOCK, len(names)))
            before = _several(run(stack[block]))
            for shifts in plan.shifts[:, block]:
                rolled = [
                    torch.roll(x, (int(a), int(b)), (-2, -1))
                    for x, (a, b) in zip(stack[block], shifts, strict=True)
                ]
                after = _several(run(torch.stack(rolled)))
                self._add(tally, names[block], torch.from_numpy(shifts), before, after)
        return tally.figures()

    def _add(
        self,
        tally: Tally,
        names: Sequence[str],
        shifts: torch.Tensor,
        before: Sequence[torch.Tensor],
        after: Sequence[torch.Tensor],
    ) -> None:
        for kind, old, new in zip(self.kinds, before, after, strict=True):
            if kind is not None:
                old = roll_positions(old, shifts.to(old.device), self.size, kind)
                new = self._nearest(old, new, kind)
            for i, name in enumerate(names):
                where = Mismatch(image=name, shift=(int(shifts[i, 0]), int(shifts[i, 1])))
                tally.add(where, old[i].reshape(1, -1), new[i].reshape(1, -1))

    def _nearest(
        self, expected: torch.Tensor, found: torch.Tensor, kind: PositionKind
    ) -> torch.Tensor:
        """`found` with whole images added so that it lies nearest to `expected`."""
        corners = 2 if kind == "boxes" else 1
        around = expected.new_tensor([self.size[1], self.size[0]] * corners)
        n = 2 * corners
        turns = torch.round((expected[..., :n] - found[..., :n]) / around)
        return torch.cat([found[..., :n] + turns * around, found[..., n:]], -1)


def _several(outputs: object) -> Sequence[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [y for y in outputs if isinstance(y, torch.Tensor)]  # type: ignore[attr-defined]
