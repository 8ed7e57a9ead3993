"""Gates and a baseline: checked before the run, judged after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from equiaudit.comparison import (
    Samples,
    comparable,
    paired_differences,
    read_samples,
    samples_beside,
)
from equiaudit.errors import InputError
from equiaudit.gates import Gate, check_names, judge, parse_gate
from equiaudit.results import Estimate, Result, load_result

__all__ = ["Judge"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Judge:
    """The gates of one run, and the baseline they are held against."""

    gates: tuple[Gate, ...] = ()
    baseline: Result | None = None
    path: Path | None = None
    """Where the baseline is, or is to be."""

    @classmethod
    def prepare(
        cls, gates: Sequence[str], baseline: str | Path | None = None, *, require: bool = False
    ) -> Judge:
        """Parse the gates and read the baseline; InputError says which of them is wrong."""
        parsed = tuple(parse_gate(gate) for gate in gates)
        if baseline is None:
            if require:
                raise InputError("A baseline is required.", tip="Name it with --baseline FILE.")
            return cls(parsed)
        path = Path(baseline)
        if not path.exists() and not require:
            return cls(parsed, path=path)
        return cls(parsed, load_result(path), path)

    @property
    def lacks_baseline(self) -> bool:
        """A baseline was named, and there is none yet."""
        return self.path is not None and self.baseline is None

    def check(
        self, kinds: Sequence[str], *, labelled: bool = True, task: str | None = None
    ) -> None:
        """Before the run, since a gate with a typo must not cost one."""
        check_names(self.gates, tuple(kinds), labelled=labelled, task=task)

    def judged(self, result: Result, samples: Samples | None, note: Note) -> Result:
        """`result` with its verdicts; `samples` are its own, for pairing by image.

        InputError where the baseline is of other data or other shifts.
        """
        paired = None
        if self.lacks_baseline:
            note(f"There is no baseline at {self.path}; gates on a drop are not judged.")
        if self.baseline is not None:
            comparable(self.baseline, result)
            paired = self._paired(result, samples, note)
        verdicts = judge(result, self.gates, self.baseline, paired)
        return result.model_copy(update={"gates": verdicts})

    def _paired(
        self, result: Result, samples: Samples | None, note: Note
    ) -> dict[str, Estimate] | None:
        if self.baseline is None or self.path is None or not any(g.drop for g in self.gates):
            return None
        beside = samples_beside(self.path)
        if samples is None or not beside.is_file():
            note(f"There is no {beside.name} of both results, so drops are not paired by image.")
            return None
        return paired_differences(self.baseline, result, read_samples(beside), samples)
