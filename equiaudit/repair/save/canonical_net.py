"""canonical for an ONNX file: changed as a file, and run by onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx
import torch
from torch import fx

from equiaudit.errors import EquiauditError, NothingToDo, RunError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.onnx import onnx_forward
from equiaudit.models.preprocess import preprocess_toml
from equiaudit.models.types import Model, Preprocess
from equiaudit.repair.canonical.onnx_file import canonical_onnx
from equiaudit.repair.outputs.run import EveryRun
from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.net import Net
from equiaudit.repair.save.write import Saved, placed
from equiaudit.sampling.positions import Role
from equiaudit.tasks import TASKS


def onnx_path(model: Model) -> Path | None:
    """Where the model's ONNX file is, None for a model that is none."""
    return model.path if model.kind == "onnx" else None


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file as it is."""

    model: Model
    every: EveryRun | None = field(default=None, kw_only=True)
    """Where all outputs count, and not only the main one."""

    @property
    def graph(self) -> fx.GraphModule | None:
        """None: whatever the file contains, it is run by onnxruntime."""
        return None

    @property
    def parameters(self) -> int:
        """None that are known apart from a file; `onnx_parameters` counts those of one."""
        return 0

    def devices(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The CPU."""
        return ("cpu",)

    def on(self, device: str) -> Run:
        """Its main output, or all of them."""
        return _on_cpu(self.model) if self.every is None else _all_on_cpu(self.every)

    def save(
        self,
        path: Path,
        *,
        example: torch.Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """RunError: there is nothing to write, the file is there."""
        raise RunError(f"{self.model.name} is unchanged, so {path.name} is not written.")


@dataclass(frozen=True)
class CanonicalOnnx(OnnxFile):
    """An ONNX file behind a roll of its input; every output is a map where the task is dense.

    With `roles` each output is what they say, and all of them count.
    """

    roles: Mapping[str, Role] = field(default_factory=dict, kw_only=True)
    ranks: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    as_graph: Callable[[], Net] = field(kw_only=True)
    """The same as a torch graph, for other kinds of files; raises where there is none."""

    @cached_property
    def graph(self) -> fx.GraphModule | None:  # type: ignore[override]
        """The same as a torch graph, for what is put around it; None where there is none."""
        try:
            return self.as_graph().graph
        except NothingToDo:
            return None

    def on(self, device: str) -> Run:
        """The main output of the changed file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "canonical.onnx"
            self._write(path)
            return self._loaded(path)

    def save(
        self,
        path: Path,
        *,
        example: torch.Tensor,
        preprocess: Preprocess,
        check: Callable[[Run], str | None],
    ) -> Saved:
        """Write the changed file, run it, `check` it and rename it; other kinds as a graph."""
        if path.suffix.lower() != ".onnx":
            net = self.as_graph()
            return net.save(path, example=example, preprocess=preprocess, check=check)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            companions = [*self._write(draft)]
            reason = self._trouble(draft, check)
            sidecar = draft.with_name(draft.name + ".toml")
            sidecar.write_text(preprocess_toml(preprocess), encoding="utf-8")
            return placed(draft, [*companions, sidecar], path.parent, reason)

    def _trouble(self, draft: Path, check: Callable[[Run], str | None]) -> str | None:
        try:
            onnx.checker.check_model(str(draft))
            return check(self._loaded(draft))
        except EquiauditError as error:
            return str(error)
        except onnx.checker.ValidationError as error:
            reason = str(error).strip().splitlines()[0]
            return f"The saved file is not valid ONNX: {reason}"

    def _write(self, path: Path) -> tuple[Path, ...]:
        source = onnx_path(self.model)
        if source is None:
            raise RunError(f"{self.model.name} is no ONNX file.")
        how = self.model.preprocess
        if self.every is not None:
            return canonical_onnx(
                source, path, roles=self.roles, ranks=self.ranks, layout=how.layout,
                channels=how.planes,
            )  # fmt: skip
        dense = TASKS[self.model.task].maps
        return canonical_onnx(
            source,
            path,
            every_output=dense,
            layout=how.layout,
            output_layout=self.model.output_layout,
            channels=how.planes,
        )

    def _loaded(self, path: Path) -> Run:
        """The changed file, prepared for as the original is."""
        how = self.model.preprocess
        if self.every is not None:
            forward = onnx_forward(path, torch.device("cpu"), what=path.name)
            nhwc = how.layout == "NHWC"
            rows = replace(
                self.every, forward=lambda x: forward(x.permute(0, 2, 3, 1) if nhwc else x)
            )
            return _all_on_cpu(rows)
        with tempfile.TemporaryDirectory() as folder:
            sidecar = Path(folder) / "preprocess.toml"
            sidecar.write_text(preprocess_toml(how), encoding="utf-8")
            loaded = load(
                path,
                device="cpu",
                task=self.model.task,
                output=self.model.output or None,
                output_layout=self.model.output_layout,
                preprocess=PreprocessOverrides(file=sidecar),
            )
        return _on_cpu(loaded)


def _all_on_cpu(every: EveryRun) -> Run:
    def run(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = [every(part) for part in torch.split(batch, every.batch)]
        return tuple(torch.cat(found).cpu() for found in zip(*parts, strict=True))

    return run  # type: ignore[return-value]


def _on_cpu(model: Model) -> Run:
    """The main output, maps in the layout that the file has them in."""

    def run(batch: torch.Tensor) -> torch.Tensor:
        output = model.run(batch.to(model.device)).cpu()
        dense = TASKS[model.task].maps
        return output.permute(0, 2, 3, 1) if dense and model.output_layout == "NHWC" else output

    return run
