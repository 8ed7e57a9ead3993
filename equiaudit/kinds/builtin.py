"""The kinds that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from equiaudit.kinds.base import Border, Cause, Kind

if TYPE_CHECKING:
    from torch import Tensor


class Circular(Kind):
    """The image itself again around the window."""

    name = "circular"
    about = "rolls the image, so that nothing enters or leaves"
    role = "a probe: nothing enters"
    usual = True
    whole = True
    border: ClassVar[Border | None] = Border(
        "seam and padding",
        "the seam, padding, and what else is bound to places",
        "fix --method mass or canonical ends it",
        "fix --method mass or canonical ends it",
    )

    def draw(self, canvas: Tensor, source: Tensor, window: tuple[int, int], black: Tensor) -> None:
        """The torus, unrolled."""
        from equiaudit.kinds.pixels import middle, wrap

        wrap(canvas, middle(source, *window))


class Crop(Kind):
    """The real neighbouring pixels around the window."""

    name = "crop"
    about = "slides the window over a larger image, so that real pixels enter"
    role = "what a moving camera does"
    usual = True
    real = True
    border: ClassVar[Border | None] = Border(
        "border",
        "what enters and leaves, padding, and what else is bound to places",
        "fix --method crop-select shows the net the same window again, within its margin",
        "fix --method crop-select does so for both, mass for this one",
    )

    def draw(self, canvas: Tensor, source: Tensor, window: tuple[int, int], black: Tensor) -> None:
        """What lies beyond the pixels of `source` keeps what it held."""
        from equiaudit.kinds.pixels import middle

        height, width = (
            side + 2 * min((there - side) // 2, (whole - side) // 2)
            for side, there, whole in zip(window, source.shape[1:], canvas.shape[1:], strict=True)
        )
        middle(canvas, height, width).copy_(middle(source, height, width))


class ZeroPad(Kind):
    """Black around the window, before normalisation."""

    name = "zero-pad"
    about = "moves the content over black"
    role = "a probe: black enters"
    usual = True
    cause = Cause(
        "black", beyond=Crop.name, remedy="no method of fix: let real pixels enter instead"
    )

    def draw(self, canvas: Tensor, source: Tensor, window: tuple[int, int], black: Tensor) -> None:
        """The window on black."""
        from equiaudit.kinds.pixels import middle

        canvas.copy_(black.reshape(-1, 1, 1).expand_as(canvas))
        middle(canvas, *window).copy_(middle(source, *window))


CIRCULAR, CROP, ZERO_PAD = Circular(), Crop(), ZeroPad()
