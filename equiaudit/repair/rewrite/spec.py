"""What a polyphase method is made of: a way to choose, a filter before it, a window."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Literal

from torch import nn

from equiaudit.sampling.aps import APSSelector
from equiaudit.sampling.blurpool import BlurPool, Padding
from equiaudit.sampling.caps import CAPSSelector
from equiaudit.sampling.ddac import DDAC
from equiaudit.sampling.lps import LPSSelector
from equiaudit.sampling.polyphase import Selector

Choose = Literal["fixed", "mass", "aps", "lps", "caps", "caps-soft"]
Filter = Literal["lpf", "ddac"]

MAX_SHIFT = 16
"""The shift of a crop that window="auto" is to withstand, px."""
WINDOWED = "a window at a fixed place leaves the border out of choices"
_HIDDEN = 32
_TAU = 0.1
_TEMPERATURE = 0.1
_GROUPS = 8


@dataclass(frozen=True)
class Spec:
    """One method: where its origin comes from, and what smooths the map before.

    "fixed" samples where the original does; "mass" chooses from what goes into an operation, the
    others from what comes out of it at stride 1. Kernel is that of the filter.
    """

    choose: Choose
    filter: Filter | None = None
    kernel: int = 3

    @property
    def name(self) -> str:
        """As given to --method: aps, mass+lpf, lpf-5."""
        smooth: str = self.filter or ""
        if self.filter and self.kernel != 3:
            smooth += f"-{self.kernel}"
        return "+".join(part for part in (self.choose, smooth) if part and part != "fixed")

    @property
    def learns(self) -> bool:
        """Whether it brings parameters of its own."""
        return self.choose in ("lps", "caps", "caps-soft") or self.filter == "ddac"

    def selector(self, channels: int, stride: tuple[int, int], window: int) -> Selector:
        """Score a map of `channels`; learned ones start from the mean positive activation.

        That is as near to APS as they get. The mixture in training starts sharp (temperature
        0.1), as near to taking one component, which the weights were trained for.
        """
        if self.choose == "lps":
            hidden = min(channels, _HIDDEN)
            lps = LPSSelector(channels, stride, hidden=hidden, tau=_TAU, window=window)
            lps.start_from_activation_()
            return lps
        if self.choose in ("caps", "caps-soft"):
            mode: Literal["soft", "hard"] = "soft" if self.choose == "caps-soft" else "hard"
            caps = CAPSSelector(
                channels, stride, mode=mode, temperature=_TEMPERATURE, window=window
            )
            caps.start_from_activation_()
            return caps
        return APSSelector(stride, window=window)

    def smoother(
        self, channels: int, stride: tuple[int, int] = (1, 1), padding: Padding = "circular"
    ) -> nn.Module:
        """The filter for a map of `channels`; DDAC starts as the identity, almost."""
        if self.filter == "lpf":
            return BlurPool(self.kernel, stride, padding)
        ddac = DDAC(
            channels,
            self.kernel,
            stride,
            groups=gcd(_GROUPS, channels),
            padding=padding,
            scope="group",
        )
        ddac.start_as_identity_()
        return ddac
