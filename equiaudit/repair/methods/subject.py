"""The model to be converted: captured, analysed and inspected once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import fx

from equiaudit._version import __version__
from equiaudit.errors import NothingToDo
from equiaudit.graphs.capture import Captured
from equiaudit.graphs.outputs import graph_outputs
from equiaudit.models.running import sample_of
from equiaudit.models.types import Layout, Model, Preprocess
from equiaudit.repair.inspection import analysed, captured_graph, inspection_of
from equiaudit.repair.methods.carried import Carried
from equiaudit.repair.methods.further import Further, further_outputs
from equiaudit.repair.onnx import OnnxCaptured
from equiaudit.repair.onnx.head import head_of
from equiaudit.repair.options import Pad
from equiaudit.repair.outputs.declared import check_units, declared_roles
from equiaudit.repair.outputs.following import Following, every_following
from equiaudit.repair.outputs.roles import Reading, read_outputs, told_of
from equiaudit.repair.outputs.run import EveryRun, every_run
from equiaudit.repair.rewrite.analyse import Analysis
from equiaudit.repair.save.canonical_net import OnnxFile, onnx_path
from equiaudit.repair.save.formats import Run
from equiaudit.repair.save.graph_net import GraphNet
from equiaudit.repair.save.net import Net
from equiaudit.repair.save.onnx_like import LikeOnnx
from equiaudit.repair.save.onnx_net import OnnxNet
from equiaudit.repair.save.script_net import DictsNet
from equiaudit.repair.verify.compare import Threshold, label_threshold
from equiaudit.repair.verify.images import verification_images, with_objects
from equiaudit.results.repair import Inspection
from equiaudit.results.types import Skipped
from equiaudit.sampling.positions import Map, Role
from equiaudit.tasks import TASKS

__all__ = ["Subject"]

Images = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Subject:
    """A loaded model and what is known of its graph.

    `captured`, `analysis` and `original` raise NothingToDo where the model has no torch graph;
    a method that can do without asks `has_graph` first.
    """

    model: Model
    pad: Pad = "wrap"
    """How ONNX files made from it pad circularly."""
    given: Callable[[Preprocess], Images] | None = None
    """Images of the user, prepared for the model: to see how outputs answer to shifts."""
    runtimes: tuple[str, ...] = ()
    """In which ONNX files are verified, besides onnxruntime."""

    @cached_property
    def captured(self) -> Captured:
        """The model's graph on the CPU."""
        return captured_graph(self.model)

    @property
    def has_graph(self) -> bool:
        """Whether there is a torch graph."""
        return self._no_graph is None

    @cached_property
    def _no_graph(self) -> NothingToDo | None:
        try:
            _ = self.captured
        except NothingToDo as refusal:
            return refusal
        return None

    @cached_property
    def carried(self) -> Carried | None:
        """An ONNX file without a graph, up to where it has one; None for others."""
        head = None if self.has_graph else head_of(self.model)
        return None if head is None else Carried(self.model, head)

    @cached_property
    def analysis(self) -> Analysis:
        """Its plan for `mass` and all that rewrite as it does."""
        return analysed(self.model, self.captured)

    @property
    def graph(self) -> fx.GraphModule:
        """The captured graph; never changed in place."""
        return self.captured.graph_module

    @cached_property
    def original(self) -> Net:
        """The unmodified model; an ONNX file that is no torch graph as a file."""
        if onnx_path(self.model) is not None and not self.has_graph:
            return OnnxFile(self.model)
        if self.keys and self.model.module is not None:
            return DictsNet(self.model.module, self.keys)
        return self.net(self.graph)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Of the dict that a detector returns for each image, boxes first; () for others."""
        module = self.model.module
        if module is None or self.model.detector.get("format") != "dicts":
            return ()
        with torch.no_grad():
            returned = module(sample_of(self.model.preprocess, 1).to(self.model.device))
        rows = returned[-1] if isinstance(returned, tuple) else returned
        return tuple(sorted(rows[0], key=lambda name: (name != "boxes", name)))

    @cached_property
    def every(self) -> EveryRun | None:
        """The model for all that it returns; None where that cannot be had."""
        return every_run(self.model, lambda count: sample_of(self.model.preprocess, count))

    @cached_property
    def following(self) -> Mapping[int, Following]:
        """How the outputs that are no maps answer to small shifts, by place."""
        every, how = self.every, self.model.preprocess
        if every is None:
            return {}
        images = verification_images(how, None if self.given is None else self.given(how))
        objects = {n: x.to(self.model.device) for n, x in with_objects(images).items()}
        places = [k for k, shape in enumerate(every.shapes) if len(shape) in (2, 3)]
        places = [k for k in places if k not in self.declared]
        return every_following(every, objects, places, every.batch)

    @cached_property
    def declared(self) -> Mapping[int, Role]:
        """What the declaration of a detector says of its outputs, by place; {} for others."""
        return {} if self.every is None else declared_roles(self.model, self.every)

    def outputs(self, positions: Sequence[tuple[str, str]] = ()) -> Reading:
        """What each output is; `positions` is what the user says.

        Raises Refused or InputError, as `read_outputs`.
        """
        model, every = self.model, self.every
        if every is None:
            raise NothingToDo(f"The outputs of {model.name} are not known.")
        main: Role = Map(channels_last=self.layout == "NHWC") if self.dense else None
        return read_outputs(
            every,
            told_of(every.names, positions, model.name),
            self.following,
            main=(-1 if model.detector else self.main_place, main),
            size=model.preprocess.size,
            model=model.name,
            channels_first=model.kind != "onnx",
            declared=self.declared,
        )

    def check_declaration(self) -> None:
        """InputError where the boxes of a detector are not in the units declared."""
        if self.model.detector:
            how, given = self.model.preprocess, self.given
            images = verification_images(how, None if given is None else given(how))
            check_units(self.model, with_objects(images))

    @property
    def main_place(self) -> int:
        """Which of all outputs the model was loaded for."""
        names = () if self.every is None else self.every.names
        return names.index(self.model.output) if self.model.output in names else 0

    @property
    def dense(self) -> bool:
        """The outputs are maps, which move with the image."""
        return TASKS[self.model.task].maps

    @property
    def layout(self) -> Layout:
        """Of maps as the model returns them."""
        return self.model.output_layout

    @property
    def threshold(self) -> Threshold:
        """Above it a single score or channel is another label; None for values of images."""
        return label_threshold(self.model)

    @cached_property
    def inspection(self) -> Inspection:
        """What `inspect` says; without a graph, only why there is none."""
        if self._no_graph is None:
            return inspection_of(self.model, self.captured, self.analysis)
        if self.carried is not None:
            return inspection_of(self.model, self.carried.head.captured, self.carried.analysis)
        return Inspection(
            tool_version=__version__,
            model=self.model.name,
            model_sha256=self.model.sha256,
            route="none",
            input_size=self.model.preprocess.size,
            total_stride=None,
            size_multiple=None,
            dense=self.dense,
            ops=(),
            refusals=(Skipped(name=self.model.name, reason=str(self._no_graph)),),
        )

    def net(self, graph: fx.GraphModule) -> Net:
        """A graph made from this model's, as something to run and to write."""
        captured = self.captured
        if isinstance(captured, OnnxCaptured):
            return OnnxNet(graph, self.pad, self.runtimes, imported=captured.imported)
        return GraphNet(graph, self.pad, self.runtimes)

    def control(self, net: Net) -> Run:
        """`net` on the CPU; an unmodified ONNX file by its runtimes, all its outputs."""
        path = self.model.path
        if not self.has_graph or net is not self.original or path is None:
            return net.on("cpu")
        captured = self.captured
        if not isinstance(captured, OnnxCaptured):
            return net.on("cpu")
        return LikeOnnx(captured.imported, runtimes=self.runtimes).load(path)

    def further_outputs(self, net: Net) -> tuple[Further, ...]:
        """The outputs of `net` besides the main one."""
        if not isinstance(net, OnnxNet) or not isinstance(captured := self.captured, OnnxCaptured):
            return ()
        found = further_outputs(self.graph, self.analysis, captured.imported)
        return tuple(found)[: len(graph_outputs(net.graph)) - 1]
