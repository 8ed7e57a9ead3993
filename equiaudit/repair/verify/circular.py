"""Verify: is a model exactly equivariant to circular shifts, and does the check mean anything?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from equiaudit.errors import InputError
from equiaudit.models.types import Layout
from equiaudit.repair.verify.compare import Tally, Threshold, largest, output_per_image
from equiaudit.repair.verify.exactness import SETTINGS, exact_arithmetic
from equiaudit.repair.verify.periodic import breaking_period
from equiaudit.repair.verify.schedule import Schedule, schedule
from equiaudit.results.repair import Mismatch, ShiftErrors, Verification

__all__ = ["NO_CONTROL", "PROVES_NOTHING", "shifted_like", "verify"]

_BLOCK = 8
"""Images per batch; each batch goes through once unshifted and once per round."""
_CONTROL_COMPARISONS = (32, 512)
"""At least and at most: a quarter of the work, for the control has to fail only once."""
_PERIODIC_SHARE = 8
"""Of images that nobody can make equivariant, a sample is enough."""
PROVES_NOTHING = (
    "The unmodified model passes the same check, so passing proves nothing about the conversion."
)
NO_CONTROL = "There is no unmodified model to compare with, so nothing shows that the check bites."

Run = Callable[[torch.Tensor], object]


def verify(
    fixed: Run,
    original: Run | None,
    images: Mapping[str, torch.Tensor],
    *,
    total_stride: tuple[int, int],
    dense: bool = False,
    layout: Layout = "NCHW",
    threshold: Threshold = 0.0,
    device: torch.device | str = "cpu",
    comparisons: int = 4096,
    seed: int = 0,
    margin: Callable[[torch.Tensor], torch.Tensor] | None = None,
    subject: str = "converted graph",
) -> Verification:
    """Compare `fixed` on images with `fixed` on their circular shifts, bit for bit.

    `fixed` and `original` map a batch (N, C, H, W) on `device` to their output; `images` are
    (C, H, W), as the model receives them. `total_stride` is (rows, columns). With `dense`
    (maps of `layout`), the output of the shifted image is compared with the shifted output; where
    the output is coarser than the input, a shift that is no whole number of its steps may come
    out as either neighbouring step. Batches mix images that are each shifted differently, and
    both members of a pair lie at the same place of a batch of the same size.

    `comparisons` bounds the work, one pass each, and a quarter of it more for the control;
    `coverage` in the result says which phases that paid for. With `dense`, images that equal
    a shift of themselves which the stride does not divide are compared and counted apart: no
    choice of a grid can respect such a symmetry. A single score or channel is one label up to
    `threshold` and another above it; with None it is no label. `margin` maps a batch to (N,)
    relative gaps between the best and the second-best origin.

    Raises InputError where there are no images, or where `dense` contradicts the output.
    """
    if not images:
        raise InputError("There are no images to verify on.")
    stack = torch.stack(list(images.values())).to(device)
    unable = _periodic(images, total_stride) if dense else []
    main, apart = _parts(images, unable, total_stride, comparisons, seed)
    compared = partial(_errors, dense=dense, layout=layout, threshold=threshold, device=device)
    with exact_arithmetic():
        figures, unfixable = compared(fixed, main), compared(fixed, apart)
        shorter = main.first(_control_comparisons(comparisons))
        control = None if original is None else compared(original, shorter)
        gap = float(margin(stack).min()) if margin is not None else None
    return Verification(
        subject=subject,
        passed=figures.passed,
        figures=figures,
        control=control,
        periodic=unfixable if unable else None,
        periodic_images=tuple(unable),
        total_stride=total_stride,
        phases=main.plan.phases,
        phases_total=main.plan.phases_total,
        coverage=main.plan.coverage,
        images=tuple(images),
        smallest_margin=gap,
        dense=dense,
        dtype=str(stack.dtype).removeprefix("torch."),
        device=_device_name(stack.device),
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        settings=SETTINGS,
        warnings=_warnings(control),
    )


@dataclass(frozen=True)
class _Part:
    """Some of the images, and which shifts each of them meets."""

    images: Mapping[str, torch.Tensor]
    plan: Schedule

    def first(self, comparisons: int) -> _Part:
        return _Part(self.images, self.plan.first(comparisons))


def _parts(
    images: Mapping[str, torch.Tensor],
    apart: Sequence[str],
    stride: tuple[int, int],
    comparisons: int,
    seed: int,
) -> tuple[_Part, _Part]:
    """The images that can be equivariant, and those named in `apart`, with fewer comparisons."""
    height, width = next(iter(images.values())).shape[-2:]

    def part(names: Sequence[str], count: int) -> _Part:
        plan = schedule(len(names), (height, width), stride, count, seed)
        return _Part({name: images[name] for name in names}, plan)

    able = [name for name in images if name not in apart]
    return part(able, comparisons), part(apart, comparisons // _PERIODIC_SHARE)


def _periodic(images: Mapping[str, torch.Tensor], stride: tuple[int, int]) -> list[str]:
    return [name for name, image in images.items() if breaking_period(image, stride) is not None]


def _errors(
    run: Run,
    part: _Part,
    *,
    dense: bool,
    layout: Layout,
    threshold: Threshold,
    device: torch.device | str,
) -> ShiftErrors:
    tally, names = Tally(threshold), list(part.images)
    for block in _blocks(len(names)):
        batch = torch.stack([part.images[name] for name in names[block]]).to(device)
        expected = output_per_image(run, batch, dense, layout)
        for shifts in part.plan.shifts[:, block].tolist():
            moved = torch.stack(
                [torch.roll(x, s, (-2, -1)) for x, s in zip(batch, shifts, strict=True)]
            )
            actual = output_per_image(run, moved, dense, layout)
            for name, shift, before, after in zip(
                names[block], shifts, expected, actual, strict=True
            ):
                aligned = shifted_like(before, after, shift, batch.shape) if dense else before
                tally.add(Mismatch(image=name, shift=shift), aligned, after)
    return tally.figures()


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


def shifted_like(
    before: torch.Tensor, after: torch.Tensor, shift: Sequence[int], shape: torch.Size
) -> torch.Tensor:
    """`before` (C, h, w) rolled as the image was, to the step that is nearest to `after`."""
    steps = [
        _whole_steps(d, n_out, n_in)
        for d, n_out, n_in in zip(shift, before.shape[-2:], shape[-2:], strict=True)
    ]
    rolled = [torch.roll(before, s, (-2, -1)) for s in itertools.product(*steps)]
    if len(rolled) == 1:
        return rolled[0]
    return min(rolled, key=lambda y: largest((y - after).double()))


def _whole_steps(shift: int, n_out: int, n_in: int) -> tuple[int, ...]:
    """`shift` px of the input in steps of the output; both neighbours where it is between."""
    low, rest = divmod(shift * n_out, n_in)
    return (low, low + 1) if rest else (low,)


def _control_comparisons(comparisons: int) -> int:
    low, high = _CONTROL_COMPARISONS
    return min(high, max(low, comparisons // 4))


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{device.type} ({torch.cuda.get_device_name(device)})"


def _warnings(control: ShiftErrors | None) -> tuple[str, ...]:
    if control is None:
        return (NO_CONTROL,)
    return (PROVES_NOTHING,) if control.passed else ()
