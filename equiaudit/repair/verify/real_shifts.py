"""What real shifts do to a choice of crops and to labels: bounds, expectations, measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from equiaudit.metrics.intervals import mean_interval
from equiaudit.results.repair import Agreement
from equiaudit.sampling.crop_select import (
    CropPosition,
    agreement_bound,
    agreement_expected,
    votes_bound,
)

REACH = 4
"""Largest real shift that is measured, px."""
_DISTANCES = (1, 2, REACH)

Run = Callable[[torch.Tensor], torch.Tensor]
Labels = Callable[[torch.Tensor], torch.Tensor]
"""Outputs (N, ...) -> the label of each image, or several."""
Shift = tuple[int, int]


def expectations(margin: int, size: tuple[int, int], votes: int = 1) -> tuple[Agreement, ...]:
    """What is known without images, for an input of `size` = window + margin."""
    bound = agreement_bound if votes == 1 else votes_bound
    return tuple(
        Agreement(
            shift=shift,
            votes=votes,
            bound=bound(margin, shift),
            expected=agreement_expected(margin, shift, size, votes=votes),
        )
        for d in _DISTANCES
        for shift in ((0, d), (d, d))
    )


def measured(
    rows: Sequence[Agreement],
    before: Run,
    after: Run,
    sources: Iterable[torch.Tensor],
    *,
    margin: int,
    size: tuple[int, int],
    labels: Labels | None,
) -> tuple[Agreement, ...]:
    """`rows` with the shares of images that keep their crop, and whose label changes; of the votes
    that are kept, where `rows` speak of several.

    `sources` are batches (N, C, h, w), `size` and REACH px of real surroundings on every side,
    as the models receive them. `before` takes the middle window of what `after` takes. Each row
    is measured in two directions, and an image counts once, with its mean over them.
    """
    tables = [_Table() for _ in rows]
    position = CropPosition(margin, votes=rows[0].votes if rows else 1)
    for source in sources:
        watch = _Watch(before, after, position, margin, size, labels)
        still = watch.at(source, (0, 0))
        for row, table in zip(rows, tables, strict=True):
            moved = [(shift, watch.at(source, shift)) for shift in _directions(row.shift)]
            table.add([still.against(seen, shift, position) for shift, seen in moved])
    return tuple(
        row.model_copy(update=table.estimates()) for row, table in zip(rows, tables, strict=True)
    )


def _directions(shift: Shift) -> tuple[Shift, Shift]:
    """An axis and the other, or a diagonal and the other."""
    a, b = shift
    return (shift, (b, a)) if a != b else (shift, (a, -b))


@dataclass(frozen=True)
class _Seen:
    """Where the crop of each image lies, and the labels before and after."""

    crops: torch.Tensor
    labels: tuple[torch.Tensor, torch.Tensor] | None

    def against(
        self, moved: _Seen, shift: Shift, position: CropPosition
    ) -> dict[str, torch.Tensor]:
        """0 or 1 per image, or the share of its votes, by the name of the figure."""
        steps = (moved.crops - self.crops - torch.tensor(shift)) / position.pitch
        shared = torch.where(steps == steps.round(), position.side - steps.abs(), 0).clamp(min=0)
        found = {"same_choice": (shared / position.side).prod(1)}
        if self.labels is not None and moved.labels is not None:
            names = ("label_changes_before", "label_changes_after")
            for name, still, seen in zip(names, self.labels, moved.labels, strict=True):
                found[name] = (still != seen).flatten(1).any(1)
        return found


@dataclass(frozen=True)
class _Watch:
    before: Run
    after: Run
    position: CropPosition
    margin: int
    size: tuple[int, int]
    labels: Labels | None

    @torch.inference_mode()
    def at(self, source: torch.Tensor, shift: Shift) -> _Seen:
        """What is chosen and predicted where the content moved by `shift`."""
        top, left = (
            (n - s) // 2 - d for n, s, d in zip(source.shape[2:], self.size, shift, strict=True)
        )
        whole = source[:, :, top : top + self.size[0], left : left + self.size[1]].contiguous()
        crops = self.position(whole).cpu()
        if self.labels is None:
            return _Seen(crops, None)
        half, inner = self.margin // 2, [n - self.margin for n in self.size]
        window = whole[:, :, half : half + inner[0], half : half + inner[1]].contiguous()
        first, second = (
            self.labels(run(batch)).cpu()
            for run, batch in ((self.before, window), (self.after, whole))
        )
        return _Seen(crops, (first[:, None], second[:, None]))


@dataclass
class _Table:
    """Figures per image of one row, over blocks."""

    columns: dict[str, list[torch.Tensor]] = field(default_factory=dict)

    def add(self, found: Sequence[dict[str, torch.Tensor]]) -> None:
        """One block, several directions."""
        for name in found[0]:
            over = torch.stack([one[name] for one in found]).double().mean(0)
            self.columns.setdefault(name, []).append(over)

    def estimates(self) -> dict[str, object]:
        """With the image as the unit."""
        return {
            name: mean_interval(torch.cat(blocks).numpy()) for name, blocks in self.columns.items()
        }
