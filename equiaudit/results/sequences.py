"""What is found of sequences: windows that slide over one defect, frame by frame."""

from __future__ import annotations

from equiaudit.results.base import Estimate, Frozen


class DefectSequence(Frozen):
    """One sequence, frame by frame."""

    file: str
    true_area: int
    """Of the defect in the first frame, px."""
    iou: tuple[float, ...]
    area: tuple[int, ...]
    """Predicted as defect, px."""
    lost: tuple[bool, ...]
    """Whether no pixel of the defect is predicted."""
    pictures: tuple[str, ...] = ()
    """The surroundings of the defect in each frame as `data:` URIs (PNG): the defect of the mask
    has a green rim, what is predicted an orange one, white where both meet."""


class SequenceShift(Frozen):
    """The sequences of one setting of the defect."""

    by_frame: tuple[Estimate, ...]
    """Mean IoU of the first frame, of the second, and so on."""
    worst: tuple[DefectSequence, ...] = ()
    """Those whose IoU varies most, the widest range first."""
