"""What convolutions and pools share: padding, given or worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equiaudit.repair.onnx.call import Call
from equiaudit.repair.onnx.values import Untranslated


@dataclass(frozen=True)
class Pads:
    """Elements added before and after each image axis."""

    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def is_even(self) -> bool:
        """Whether both ends of each axis get the same."""
        return self.before == self.after

    @property
    def torch_order(self) -> list[int]:
        """Last axis first, as `aten.pad` takes them."""
        return [self.before[1], self.after[1], self.before[0], self.after[0]]


def ints_attr(call: Call, name: str, default: Sequence[int]) -> list[int]:
    """An attribute with one whole number per image axis."""
    values = [int(v) for v in call.attr(name, list(default))]
    if len(values) != len(default):
        raise Untranslated(f"its attribute {name} has {len(values)} entries, not {len(default)}")
    return values


def explicit_pads(call: Call) -> Pads:
    """The attribute `pads`: the beginnings, then the ends."""
    top, left, bottom, right = ints_attr(call, "pads", (0, 0, 0, 0))
    return Pads((top, left), (bottom, right))


def window_pads(
    call: Call,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Pads:
    """`pads`, or what `auto_pad` asks for at this input size."""
    auto = call.attr("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return explicit_pads(call)
    call.ignore("pads")
    if auto == "VALID":
        return Pads((0, 0), (0, 0))
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise Untranslated(f"its auto_pad is {auto!r}")
    totals = [
        max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    less, more = ([t // 2 for t in totals], [t - t // 2 for t in totals])
    first, last = (less, more) if auto == "SAME_UPPER" else (more, less)
    return Pads((first[0], first[1]), (last[0], last[1]))
