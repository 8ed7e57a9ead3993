"""What a repair costs on images, as a frozen value."""

from __future__ import annotations

from typing import Literal

from equiaudit.results.base import Estimate, Frozen


class Loss(Frozen):
    """How much accuracy a repaired model lost on unshifted images, and whether that is allowed.

    "lost": more than `allowed`, and the interval shows that it is a loss at all. "kept": the whole
    interval is within `allowed`. "cannot tell": the images are too few for either. "not judged":
    there is no truth to say what a change is worth.
    """

    measure: Literal["accuracy", "mIoU", "F1", "PSNR", "labels", "sets", "pixels", "boxes"]
    """"labels", "sets" and "pixels" are shares of images or pixels whose label, or set of labels,
    changes, where there is no truth. "boxes" is 1 less the AP50 of the boxes after, against those
    before."""
    before: Estimate | None = None
    after: Estimate | None = None
    lost: Estimate
    """Shares, paired by image; above 0 it is worse. PSNR in dB."""
    allowed: float | None = None
    verdict: Literal["kept", "lost", "cannot tell", "not judged"]
    images_needed: int | None = None
    """About how many images would tell."""
    keeps: str | None = None
    """A method that loses no more than is allowed, where this one does."""
