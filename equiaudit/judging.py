"""Gates and a baseline: checked before the run, judged after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from equiaudit.errors import InputError
from equiaudit.gates import Gate, check_names, parse_gate

if TYPE_CHECKING:
    from equiaudit.comparison import Samples
    from equiaudit.metrics.forecast import Bounds
    from equiaudit.results import Estimate, Result

Note = Callable[[str], None]


@dataclass(frozen=True)
class Judge:
    """The gates of one run, and the baseline they are held against."""

    gates: tuple[Gate, ...] = ()
    baseline: Result | None = None
    path: Path | None = None
    """Where the baseline is, or is to be."""
    update: bool = False
    """The run takes its place, unless a gate fails."""

    @classmethod
    def prepare(
        cls,
        gates: Sequence[str],
        baseline: str | Path | None = None,
        *,
        require: bool = False,
        update: bool = False,
        kept: Result | None = None,
        later: bool = False,
    ) -> Judge:
        """Parse the gates and read the baseline; InputError says which of them is wrong.

        A gate on a drop needs a baseline to be named, unless `kept`, the saved result that is
        judged again, holds the figures of one; or is it judged `later`, by another. Where the
        named file does not exist yet, `require` makes that an error. With `update` the run is
        to be kept there.
        """
        parsed = tuple(parse_gate(gate) for gate in gates)
        if baseline is None:
            if require or update:
                what = "required" if require else "to be updated"
                raise InputError(f"A baseline is {what}, and none is named.", tip=_NAME_IT)
            if not later:
                _refuse_drops(parsed, kept)
            return cls(parsed)
        path = Path(baseline)
        if not path.exists() and not require:
            return cls(parsed, path=path, update=update)
        from equiaudit.results import load_result

        return cls(parsed, load_result(path), path, update)

    @property
    def lacks_baseline(self) -> bool:
        """A baseline was named, and there is none yet."""
        return self.path is not None and self.baseline is None

    def keeps(self, result: Result) -> Path | None:
        """Where `result`, which is judged, is to be recorded; None where it is not."""
        failed = any(gate.verdict == "fail" for gate in result.gates)
        return self.path if self.lacks_baseline or (self.update and not failed) else None

    def check(
        self,
        kinds: Sequence[str],
        *,
        labelled: bool = True,
        task: str | None = None,
        scored: bool = True,
    ) -> None:
        """Before the run, since a gate with a typo must not cost one."""
        check_names(self.gates, tuple(kinds), labelled=labelled, task=task, scored=scored)
        known = None if self.baseline is None else self.baseline.metric_names()
        for gate in self.gates:
            if gate.drop and known is not None and gate.name not in known:
                raise InputError(
                    f"The gate {gate.expression!r} is on a drop, and the baseline {self.path} has"
                    f" no {gate.name}.",
                    tip="Scan the baseline again with the same shifts, labels or masks.",
                )

    def judged(self, result: Result, samples: Samples | None, note: Note) -> Result:
        """`result` with its verdicts; `samples` are its own, for pairing by image.

        InputError where the baseline is of other data or other shifts.
        """
        from equiaudit.comparison import comparable
        from equiaudit.gates import judge, judged_against

        forecasts: dict[str, Bounds] = {}
        if self.lacks_baseline:
            note(self._lacking(result))
        if self.baseline is not None:
            comparable(self.baseline, result)
            paired, forecasts = self._paired(result, samples, note)
            figures = judged_against(result, self.gates, self.baseline, paired)
            result = result.model_copy(update={"baseline": figures})
        return result.model_copy(update={"gates": judge(result, self.gates, forecasts)})

    def _lacking(self, result: Result) -> str:
        if result.baseline is None:
            return f"There is no baseline at {self.path}; gates on a drop are not judged."
        return (
            f"There is no baseline at {self.path}; gates on a drop are judged by the figures that"
            f" the result keeps of {result.baseline.model}, and not where it keeps none."
        )

    def _paired(
        self, result: Result, samples: Samples | None, note: Note
    ) -> tuple[dict[str, Estimate], dict[str, Bounds]]:
        from equiaudit.comparison import (
            paired_differences,
            paired_law,
            read_samples,
            samples_beside,
        )

        names = {gate.name for gate in self.gates if gate.drop}
        if self.baseline is None or self.path is None or not names:
            return {}, {}
        beside = samples_beside(self.path)
        if samples is None or not beside.is_file():
            note(f"There is no {beside.name} of both results, so drops are not paired by image.")
            return {}, {}
        before = read_samples(beside)
        found = paired_differences(self.baseline, result, before, samples)
        return found, {name: law for name in names if (law := paired_law(name, before, samples))}


def _refuse_drops(gates: Sequence[Gate], kept: Result | None) -> None:
    """InputError for the first gate on a drop that nothing could ever judge."""
    known = kept.baseline.drops if kept is not None and kept.baseline is not None else {}
    for gate in gates:
        if gate.drop and gate.name not in known:
            raise InputError(
                f"The gate {gate.expression!r} is on a drop, and no baseline is named.",
                tip=_NAME_IT,
            )


_NAME_IT = (
    "Name the result.json of an earlier run with --baseline FILE; where the file does not exist"
    " yet, this run is recorded there."
)
