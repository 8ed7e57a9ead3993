"""How much a verification does in the seconds it has: which images, how many comparisons."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import torch

from equiaudit.repair.verify.synthetic import FIRST
from equiaudit.results.repair import Verification

__all__ = ["Budget", "along_of", "budget_of"]

_PROBE = 8
_MOST = 20_000
_ENOUGH = 64
"""Comparisons; where the time is for fewer, few images are taken, as each is run unshifted too."""
_PATIENCE = 5.0
"""Seconds that are never too long for the phases along the axes."""
_FEW = 4
_TELLING = ("noise", "text", "square-12", "delta")
"""Synthetic images without a symmetry: a shift of them is never the same image."""

Images = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Budget:
    """What fits into the time."""

    images: Images
    comparisons: int
    """Each is a pass of one image; those of the control and of unshifted images are beside them."""
    until: float = inf
    """When no further batch begins, by `time.monotonic`; infinite where all is done that has to
    be."""
    left_out: int = 0
    """Images that there was no time for."""
    seconds: float = inf

    def said(self, found: Verification) -> Verification:
        """`found`, which says what there was no time for."""
        if not self.left_out:
            return found
        count = len(self.images)
        warning = (
            f"{self.seconds:.0f} s were enough for {count} of {count + self.left_out} images; a"
            " longer --seconds checks more phases on more of them."
        )
        return found.model_copy(update={"warnings": (*found.warnings, warning)})


def budget_of(
    run: Callable[[torch.Tensor], object],
    images: Images,
    seconds: float,
    device: torch.device | str,
    comparisons: int | None = None,
    *,
    along: int = 0,
) -> Budget:
    """What takes about `seconds`, from the time of one pass; with `comparisons` all that it says.

    `along` phases lie along the axes. Where a net is so slow that these take longer on all images,
    the time is held: they are saved on, and where it is for less than a few rounds, so are images.
    Unshifted passes and those of the control take their share first.
    """
    if comparisons is not None:
        return Budget(images, comparisons)
    started = time.monotonic()
    per_image = _time_of(run, images, seconds, device)
    until, passes = started + seconds, (seconds - (time.monotonic() - started)) / per_image
    affordable = (passes - 2 * len(images)) / 1.25
    least = 2 * len(images) + 1.25 * max(_ENOUGH, along)
    if least * per_image <= max(seconds, _PATIENCE):
        return Budget(images, int(min(_MOST, max(_ENOUGH, affordable))))
    if affordable >= _ENOUGH:
        return Budget(images, int(affordable), until)
    few = _few(images)
    # The control takes a round of its own, and each image an unshifted pass in either.
    affordable = passes - 3 * len(few)
    left = len(images) - len(few)
    return Budget(few, max(1, int(affordable)), until, left, seconds)


def along_of(check: object, size: tuple[int, int]) -> int:
    """How many phases along the axes a check has to cover; 0 of one that is about crops."""
    if not hasattr(check, "total_stride") and not hasattr(check, "stride"):
        return 0
    stride = getattr(check, "total_stride", None) or getattr(check, "stride", None) or size
    return int(sum(stride)) - 2


def _few(images: Images) -> Images:
    """Half of them given, where there are any: they stand before the synthetic ones."""
    names = list(images)
    given = names[: names.index(FIRST)] if FIRST in names else names
    telling = [name for name in _TELLING if name in images]
    return {name: images[name] for name in [*given[: _FEW // 2], *telling][:_FEW]}


def _time_of(
    run: Callable[[torch.Tensor], object], images: Images, seconds: float, device: object
) -> float:
    """Of a pass, per image: in a batch, or alone where that takes long already."""
    stack = torch.stack(list(images.values())[:_PROBE]).to(device)  # type: ignore[call-overload]
    alone = _timed(run, stack[:1])
    if alone * 2 * len(stack) > seconds / 4:
        return min(alone, _timed(run, stack[:1]))
    run_once = _timed(run, stack)
    return min(run_once, _timed(run, stack)) / len(stack)


def _timed(run: Callable[[torch.Tensor], object], batch: torch.Tensor) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        run(batch)
    if batch.device.type == "cuda":
        torch.cuda.synchronize(batch.device)
    return max(time.perf_counter() - start, 1e-6)
