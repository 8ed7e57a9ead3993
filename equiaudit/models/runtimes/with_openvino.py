"""ONNX files and OpenVINO's own (.xml with .bin) in OpenVINO, on the CPU.

Each shape of a batch is compiled by itself, as a file that is deployed is: OpenVINO picks other
kernels for shapes that are left open. Its default precision is that of the machine (bfloat16 where
the CPU has it), so float32 is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiaudit.errors import InputError
from equiaudit.models.runtimes.base import Forward, Port, Runtime

if TYPE_CHECKING:
    import torch

_SHAPES_KEPT = 4
_TYPES = {
    "f32": "tensor(float)", "f64": "tensor(double)", "f16": "tensor(float16)",
    "u8": "tensor(uint8)", "i8": "tensor(int8)", "i32": "tensor(int32)", "i64": "tensor(int64)",
    "boolean": "tensor(bool)", "i16": "tensor(int16)", "u16": "tensor(uint16)",
    "u32": "tensor(uint32)", "u64": "tensor(uint64)",
}  # fmt: skip
_CAUSES = (
    re.compile(r"^.*(?:unsupported|not supported).*$", re.IGNORECASE | re.MULTILINE),
    re.compile(r"^(?!Exception from|FrontEnd API|Check |\s*$|Model wasn't).+$", re.MULTILINE),
)
_FAILED = re.compile(r"Conversion is failed for: (.*)")


class OpenVino:
    """Nets compiled for the CPU in float32, as many threads as torch has."""

    label = "OpenVINO"
    package = extra = "openvino"
    reads = ("openvino", "onnx")
    tip = "Export it to ONNX, or convert it with OpenVINO's ovc."

    def settings(self) -> Mapping[str, str]:
        """The precision, which is the machine's own otherwise."""
        return {"INFERENCE_PRECISION_HINT": "f32"}

    def said(self) -> str:
        """Its version, threads and precision."""
        import openvino

        threads = _config()["INFERENCE_NUM_THREADS"]
        version = openvino.__version__.partition("-")[0]
        return f"OpenVINO {version} on the CPU, inference_precision f32, threads: {threads}"

    def forward(
        self,
        source: Path | bytes,
        device: torch.device,
        *,
        what: str,
        image: str = "",
        inputs: Mapping[str, str] | None = None,
    ) -> Forward:
        """The net, compiled once for every shape that comes."""
        import openvino

        from equiaudit.models.onnx_ports import Feed, as_tensors

        if device.type != "cpu":
            raise InputError(f"OpenVINO cannot run {what} on {device}.", tip="Use --device cpu.")
        core = openvino.Core()
        try:
            net = core.read_model(str(source) if isinstance(source, Path) else source)
        except Exception as error:  # OpenVINO raises plain RuntimeErrors
            raise _not_run(str(error), what, "read") from error
        feed = Feed([_port(each) for each in net.inputs], image, inputs or {}, what)
        names = _output_names(net, source)
        compiled: dict[Any, Any] = {}

        def forward(batch: torch.Tensor) -> dict[str, Any]:
            values = feed(batch)
            shapes = {name: list(value.shape) for name, value in values.items()}
            key = str(shapes)
            if key not in compiled:
                while len(compiled) >= _SHAPES_KEPT:
                    compiled.pop(next(iter(compiled)))
                compiled[key] = _compiled(core, net, shapes, what)
            # A shared output would be overwritten by the next call.
            outputs = compiled[key](values, share_outputs=False)
            found = (as_tensors(outputs[place], device) for place in range(len(names)))
            return {n: value for n, value in zip(names, found, strict=True) if value is not None}

        return forward


def _compiled(core: Any, net: Any, shapes: Mapping[str, list[int]], what: str) -> Any:
    own = net.clone()
    try:
        if own.is_dynamic():
            own.reshape(shapes)
        return core.compile_model(own, "CPU", _config())
    except Exception as error:
        raise _not_run(str(error), what, "run") from error


def _config() -> dict[str, Any]:
    import torch

    return {
        **OpenVino().settings(),
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }


def _port(port: Any) -> Port:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        sides: tuple[int | None, ...] = ()
    else:
        sides = tuple(side.get_length() if side.is_static else None for side in shape)
    kind = port.get_element_type().get_type_name()
    return Port(_name(port, 0), _TYPES.get(kind, kind), sides)


def _output_names(net: Any, source: Path | bytes) -> list[str]:
    """As an ONNX file lists them; the names of one tensor may be several, and of one output two."""
    import onnx

    found = [_name(each, place) for place, each in enumerate(net.outputs)]
    if isinstance(source, Path) and source.suffix.lower() == ".xml":
        return found
    proto = (
        onnx.load(source, load_external_data=False)
        if isinstance(source, Path)
        else onnx.load_from_string(source)
    )
    listed = [output.name for output in proto.graph.output]
    return listed if len(listed) == len(found) else found


def _name(port: Any, place: int) -> str:
    """The name that the file gives it; OpenVINO sorts several, and the shortest is the file's."""
    names = sorted(port.get_names(), key=lambda name: (len(name), name))
    return names[0] if names else f"output_{place}"


def _not_run(error: str, what: str, verb: str) -> InputError:
    cause = next((m[0] for each in _CAUSES if (m := each.search(error))), "it does not say why")
    failed = _FAILED.search(error)
    where = f" ({failed[1].strip()})" if failed else ""
    wraps = "[wrap]" in cause
    return InputError(
        f"OpenVINO cannot {verb} {what}: {cause.strip().rstrip('.')}{where}.",
        tip="Write it with fix --for openvino." if wraps else None,
    )


RUNTIME: Runtime = OpenVino()
