"""The verifier: a net is compared with itself on shifted images, and so is a control."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from equiaudit.errors import InputError
from equiaudit.repair.verify.compare import Tally, Threshold
from equiaudit.repair.verify.exactness import SETTINGS
from equiaudit.repair.verify.schedule import Schedule
from equiaudit.results.base import Mismatch
from equiaudit.results.repair import ShiftErrors, Verification

_BLOCK = 8
"""Images per batch; each batch goes through once unshifted and once per round."""
_PROVES_NOTHING = (
    "The unmodified model passes the same check, so passing proves nothing about the conversion."
)
_NO_CONTROL = "There is no unmodified model to compare with, so nothing shows that the check bites."

Run = Callable[[torch.Tensor], object]
Shift = tuple[int, int]


class Matching(Protocol):
    """What is read of a net, and which parts of it have to be equal after a shift."""

    @property
    def threshold(self) -> Threshold:
        """Above it a single score or channel is another label; None where it is none."""
        ...

    def outputs(self, run: Run, batch: torch.Tensor) -> Any:
        """What `run` says of batch (N, C, H, W)."""
        ...

    def pairs(
        self, images: slice, shifts: Sequence[Shift], before: Any, after: Any
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """(place in the batch, expected, found), (C, ...) each, for outputs of some of the images
        before and after these shifts of them."""
        ...


@dataclass(frozen=True)
class Trial:
    """Images, and which shifts each of them meets."""

    names: Sequence[str]
    images: torch.Tensor
    """(N, C, H, W), on the device to run on."""
    plan: Schedule
    counts: NDArray[np.bool_] | None = None
    """(rounds, N): which are compared; None for all."""
    block: int = _BLOCK
    until: float = inf
    """When no further batch begins, by `time.monotonic`; a round is always done."""

    def first(self, comparisons: int) -> Trial:
        """The rounds that hold about the first `comparisons`."""
        return replace(self, plan=self.plan.first(comparisons))

    def errors(self, run: Run, matching: Matching) -> ShiftErrors:
        """`run` against itself."""
        return self.compared(run, matching)[0]

    def compared(self, run: Run, matching: Matching) -> tuple[ShiftErrors, Schedule]:
        """`run` against itself, and the plan as far as time went. Batches mix images that are each
        shifted differently, and both members of a pair lie at the same place of a batch of the same
        size."""
        tally = Tally(matching.threshold)
        done = np.zeros(self.plan.shifts.shape[:2], bool)
        for start in range(0, len(self.names), self.block):
            part = slice(start, min(start + self.block, len(self.names)))
            if start and time.monotonic() > self.until:
                break
            before = matching.outputs(run, self.images[part])
            for turn, shifts in enumerate(self.plan.shifts[:, part].tolist()):
                compared = [True] * len(shifts) if self.counts is None else self.counts[turn, part]
                if turn >= self.plan.least and time.monotonic() > self.until:
                    break
                done[turn, part] = True
                if not any(compared):
                    continue
                after = matching.outputs(run, rolled(self.images[part], shifts))
                for i, old, new in matching.pairs(part, shifts, before, after):
                    if compared[i]:
                        where = Mismatch(image=self.names[start + i], shift=shifts[i])
                        tally.add(where, old, new)
        return tally.figures(), self.plan.as_far_as(done)

    def record(
        self,
        figures: ShiftErrors,
        control: ShiftErrors | None,
        warnings: Sequence[str] = (),
        *,
        plan: Schedule | None = None,
        **fields: Any,
    ) -> Verification:
        """The check as a result, of which `plan` was done; `fields` are its own, or say
        otherwise."""
        plan = plan or self.plan
        known: dict[str, Any] = {
            "passed": figures.passed,
            "phases": plan.phases,
            "phases_total": plan.phases_total,
            "coverage": plan.coverage,
            "images": tuple(self.names),
        }
        return Verification(
            **known | fields,
            figures=figures,
            control=control,
            dtype=str(self.images.dtype).removeprefix("torch."),
            device=_device_name(self.images.device),
            torch_version=torch.__version__,
            threads=torch.get_num_threads(),
            settings=SETTINGS,
            warnings=(*warnings, *_warnings(control)),
        )


def some(images: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """`images`, of which there has to be one."""
    if not images:
        raise InputError("There are no images to verify on.")
    return images


def rolled(batch: torch.Tensor, shifts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Each image of batch (N, C, H, W) by its own shift."""
    pairs = zip(batch, shifts, strict=True)
    return torch.stack([torch.roll(x, tuple(shift), (-2, -1)) for x, shift in pairs])


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{device.type} ({torch.cuda.get_device_name(device)})"


def _warnings(control: ShiftErrors | None) -> tuple[str, ...]:
    if control is None:
        return (_NO_CONTROL,)
    return (_PROVES_NOTHING,) if control.passed else ()
