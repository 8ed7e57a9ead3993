"""What goes into an ONNX model beside the image, and what comes out of it that is no tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiaudit.errors import InputError
from equiaudit.models.onnx_proto import ModelProto, TensorProto, ValueInfoProto
from equiaudit.models.preprocess import Given, PreprocessFields
from equiaudit.models.preprocess_values import FEWEST, MOST, MULTI, several_channels

if TYPE_CHECKING:
    import torch

_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
_NUMPY = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(bool)": "bool", "tensor(int16)": "int16",
    "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
}  # fmt: skip
_LARGEST = 1 << 28
"""Elements of an input that is given as one value."""
_KINDS = {3: "sequences or signals (3-D)", 5: "volumes or clips (5-D)"}


@dataclass(frozen=True)
class ImageInput:
    """The image input: its dtype by `Preprocess`'s names, None for a dynamic side."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def layout(self) -> str | None:
        """NCHW or NHWC where the place of 1 or 3 channels tells, or else that of 4 to 32."""
        if self.shape[1] in (1, 3):
            return "NCHW"
        if self.shape[3] in (1, 3):
            return "NHWC"
        several = range(FEWEST, MOST + 1)
        _, *sides, last = self.shape
        free = sides == [None, None]
        if last in several and (free or all(side and side > MOST for side in sides)):
            return "NHWC"
        return "NCHW" if sides[0] in several and last not in several else None


def image_input(proto: ModelProto, path: Path, inputs: Mapping[str, str]) -> ImageInput:
    """The one input that takes a 4-D batch and that `inputs` gives no value.

    Old files list the initialisers among the inputs; they are none. An input that states no
    shape may be the image. Raises InputError where none, or more than one, may be it.
    """
    initialisers = {tensor.name for tensor in proto.graph.initializer}
    own = {item.name: item for item in proto.graph.input if item.name not in initialisers}
    unknown = [name for name in inputs if name not in own]
    if unknown:
        raise InputError(
            f"{path} has no input {unknown[0]!r}.", tip=f"Its inputs: {', '.join(own)}."
        )
    left = [item for name, item in own.items() if name not in inputs]
    fitting = [item for item in left if _may_be_image(item)]
    if len(left) != 1 or len(_sides(left[0])) != 4:
        _refuse(path, left, [item.name for item in fitting])
    kind = left[0].type.tensor_type
    if kind.elem_type not in _DTYPES:
        name = TensorProto.DataType.Name(kind.elem_type).lower()
        raise InputError(f"{path} takes {name} input; float32, float16 and uint8 are supported.")
    return ImageInput(left[0].name, _DTYPES[kind.elem_type], _sides(left[0]))


def chosen_image(found: Sequence[ImageInput], path: Path, inputs: Mapping[str, str]) -> ImageInput:
    """The one of all inputs that takes a 4-D batch and that `inputs` gives no value."""
    names = [port.name for port in found]
    unknown = [name for name in inputs if name not in names]
    if unknown:
        raise InputError(
            f"{path} has no input {unknown[0]!r}.", tip=f"Its inputs: {', '.join(names)}."
        )
    left = [port for port in found if port.name not in inputs]
    if len(left) != 1 or len(left[0].shape) != 4:
        shown = ", ".join(f"{port.name} ({port.dtype}, {len(port.shape)}-D)" for port in left)
        raise InputError(
            f"{path} does not take one 4-D batch of images as its only input:"
            f" {shown or 'it has none'}.",
            tip="Give all others a value with --input NAME=VALUE." if len(left) > 1 else None,
        )
    if left[0].dtype not in _DTYPES.values():
        raise InputError(
            f"{path} takes {left[0].dtype} input; float32, float16 and uint8 are supported."
        )
    return left[0]


def fixed_fields(
    image: ImageInput, stated: PreprocessFields, what: str, kind: str
) -> tuple[PreprocessFields, int | None]:
    """What the input's type and shape fix, and its channels where they are neither 1 nor 3.

    `kind` names the format in sources: "ONNX input shape".
    """
    shape = f"{kind} input shape"
    fixed = {"dtype": Given(image.dtype, f"{kind} input type")}
    if image.layout:
        fixed["layout"] = Given(image.layout, shape)
    told = fixed.get("layout") or stated.get("layout")
    nhwc = told is not None and told.value == "NHWC"
    channels, sides = (image.shape[3], image.shape[1:3]) if nhwc else (
        image.shape[1], image.shape[2:])  # fmt: skip
    planes = several_channels(channels, what)
    if None not in sides:
        fixed["size"] = Given(sides, shape)
    if channels == 1 or planes is not None:
        fixed["channels"] = Given("gray" if planes is None else MULTI, shape)
    return fixed, planes


def _refuse(path: Path, left: Sequence[ValueInfoProto], fitting: list[str]) -> None:
    ranks = [len(item.type.tensor_type.shape.dim) for item in left]
    if len(left) == 1 and ranks[0] in _KINDS:
        raise InputError(
            f"{path} takes {_KINDS[ranks[0]]}; only 4-D batches of images are supported."
        )
    others = [item.name for item in left if [item.name] != fitting]
    if len(fitting) != 1 or not others:
        raise InputError(
            f"{path} does not take one 4-D batch of images as its only input:"
            f" {', '.join(map(_described, left)) or 'it has none'}.",
            tip="Give all others a value with --input NAME=VALUE." if len(left) > 1 else None,
        )
    raise InputError(
        f"{path} takes more than the image {fitting[0]!r}:"
        f" {', '.join(_described(item) for item in left if item.name in others)}.",
        tip=f"Give a value: {' '.join(f'--input {name}=zeros' for name in others)}.",
    )


def _may_be_image(item: ValueInfoProto) -> bool:
    """Four axes, and no constant per channel, as Keras' Normalization has for an input."""
    kind, sides = item.type.tensor_type, _sides(item)
    return len(sides) == 4 and sides.count(1) < 3 and kind.elem_type not in (
        TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)  # fmt: skip


def _sides(item: ValueInfoProto) -> tuple[int | None, ...]:
    kind = item.type.tensor_type
    if not kind.HasField("shape"):
        return (None,) * 4
    return tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)


def _described(item: ValueInfoProto) -> str:
    kind = item.type.tensor_type
    name = TensorProto.DataType.Name(kind.elem_type).lower()
    dims = ", ".join(str(d.dim_value or d.dim_param or "?") for d in kind.shape.dim)
    return f"{item.name} ({name}, {dims})"


class Feed:
    """From a batch to all that a session wants."""

    def __init__(
        self, ports: Sequence[Any], image: str, inputs: Mapping[str, str], what: str
    ) -> None:
        self._image = next((p for p in ports if p.name == image), ports[0])
        self._others = [p for p in ports if p is not self._image]
        self._inputs, self._what = inputs, what
        for port in self._others:
            if port.name not in inputs:
                raise InputError(
                    f"{what} has an input {port.name!r} beside the image.",
                    tip=f"Give it a value: --input {port.name}=zeros.",
                )
            _numbers(port.name, inputs[port.name])

    def __call__(self, batch: torch.Tensor) -> dict[str, NDArray[Any]]:
        """The batch as the image, in the type that the session wants, and every other input."""
        pixels = np.ascontiguousarray(batch.cpu().numpy())
        if self._image.type == "tensor(double)":
            pixels = pixels.astype("float64")
        feed = {self._image.name: pixels}
        known = dict(zip(self._image.shape or (), pixels.shape, strict=False))
        for port in self._others:
            feed[port.name] = self._filled(port, known, len(pixels))
        return feed

    def _filled(self, port: Any, known: Mapping[Any, int], count: int) -> NDArray[Any]:
        """The value in the input's shape: a side with a name of the image's is as long."""
        shape = [
            side if isinstance(side, int) and side > 0
            else known.get(side, count if place == 0 else 1) if side is not None
            else count if place == 0 else 1
            for place, side in enumerate(port.shape)
        ]  # fmt: skip
        values = _numbers(port.name, self._inputs[port.name])
        if port.type not in _NUMPY or np.prod(shape, dtype=np.float64) > _LARGEST:
            raise InputError(f"The input {port.name!r} of {self._what} cannot be given a value.")
        try:
            filled = np.broadcast_to(np.asarray(values), shape) if shape else np.asarray(values[0])
        except ValueError as error:
            raise InputError(
                f"{len(values)} values do not fit the input {port.name!r} of {self._what}, of"
                f" shape {tuple(shape)}."
            ) from error
        return np.ascontiguousarray(filled.astype(_NUMPY[port.type])).reshape(shape)


def _numbers(name: str, text: str) -> list[float]:
    """``zeros``, or numbers with commas between."""
    if text == "zeros":
        return [0.0]
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--input {name}={text}: the value is not a number.",
            tip="Give a number, numbers with commas between, or zeros.",
        ) from error


def as_tensors(value: Any, device: torch.device) -> Any:
    """An output as a tensor on `device`, or a list of them; None for texts and what is absent.

    A sequence of maps from classes to scores, one per image, is a tensor (N, classes).
    """
    import torch

    if isinstance(value, np.ndarray):
        return None if value.dtype.kind in "OUS" else torch.from_numpy(value).to(device)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        if any(item.keys() != value[0].keys() for item in value):
            return None
        rows = [[float(item[key]) for key in value[0]] for item in value]
        return torch.tensor(rows, dtype=torch.float32, device=device)
    if isinstance(value, list):
        found = [as_tensors(item, device) for item in value]
        return [item for item in found if item is not None]
    return None
