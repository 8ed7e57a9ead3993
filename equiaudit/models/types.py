"""The two values every model becomes: how images are prepared, and what is called on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equiaudit.models.sniff import FileKind

if TYPE_CHECKING:
    import torch

ModelKind = FileKind | Literal["state_dict", "module"]
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Preprocess:
    """From decoded pixels to the model's input.

    With x the pixel in [0, 1] and RGB order, the model receives (x - mean) / std, its
    channels then put into `channels` order, cast to `dtype` and laid out as `layout`.
    `mean` and `std` are RGB, where `channels` is no "multi", and for [0, 1]; a file that states
    them for 0..255 (`pixel_range = 255`) is converted when it is read. dtype "uint8" means raw
    pixels: mean and std stay 0 and 1 and nothing is scaled.
    """

    size: tuple[int, int]
    """(H, W) of the window the model sees, px."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Literal["rgb", "bgr", "gray", "multi"] = "rgb"
    """"multi" is 4 to 32 channels in the order of the image's file, as many as `mean` has."""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    layout: Layout = "NCHW"
    resize: int | tuple[int, int] | None = None
    """Shorter side of the image before the centre crop, px, or (H, W) whatever its proportions;
    None keeps its pixels."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    fit: Literal["crop", "letterbox"] = "crop"
    """The window is the middle of the image, or the whole image scaled to fit and padded."""
    place: Literal["centre", "top-left"] = "centre"
    """Where a letterboxed image stands in the window."""
    pad: int = 114
    """Grey of what is beside a letterboxed image, 0..255."""
    image_range: tuple[float, float] | None = None
    """(black, white) of images with more than 8 bits a channel; None for what the file says."""
    crop_margin: int = 0
    """px of the window that a choice of crops inside the model leaves out; 0 where it has none."""
    crop_votes: int = 1
    """How many crops that choice averages."""
    source: dict[str, str] = field(default_factory=dict)
    """Field name -> where its value came from: "flag --mean", "sidecar NAME", "torchvision
    weights NAME", "ONNX input shape", "default". Keys of `reading` too."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """How the output is read, as far as that is stated: task, output, output_layout, threshold,
    detector."""

    @property
    def plain(self) -> dict[str, Any]:
        """As results keep it, which say by themselves how the output was read."""
        found = asdict(self)
        reading = found.pop("reading")
        found["source"] = {k: v for k, v in self.source.items() if k not in reading}
        return found

    @property
    def planes(self) -> int:
        """Channels of an image: 1, 3, or more of "multi"."""
        return len(self.mean) if self.channels == "multi" else 1 if self.channels == "gray" else 3

    @property
    def tensor_dtype(self) -> torch.dtype:
        """`dtype` as torch has it."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def resize_text(self) -> str:
        """`resize` in words: "256", "224x224", "none"."""
        sides = self.resize if isinstance(self.resize, tuple) else (self.resize or "none",)
        return "x".join(map(str, sides))


@dataclass(frozen=True)
class Model:
    """A loaded model in eval mode.

    `run` takes a batch (N, C, H, W) on `device` that `Preprocess` has normalised and put in
    channel order and dtype (layout NHWC is `run`'s own business), and returns the task's
    output as float32 on `device`: logits (N, classes) for classification, (N, C, H, W) for
    dense tasks, whatever the layout of the model's own output; with `outputs_labels` the ids of
    classes as (N, 1) and (N, 1, H, W). It accepts any N (a model exported with a fixed batch is
    fed in pieces, padded by repetition) and raises RunError naming the cause when the model
    raises.
    """

    name: str
    kind: ModelKind
    run: Callable[[torch.Tensor], torch.Tensor]
    preprocess: Preprocess
    task: str
    """A name of `equiaudit.tasks.TASKS`."""
    device: torch.device
    sha256: str
    """Of the file (and its external data), or of the state dict for a zoo model."""
    backend: str
    """"torch", "compile" or "onnxruntime"."""
    path: Path | None = None
    output: str = ""
    """The name of the output taken, "" where the model returns one tensor without a name."""
    module: torch.nn.Module | None = None
    """The eager module, scripted module or exported program's module where there is one."""
    fixed_batch: int | None = None
    outputs_probabilities: bool = False
    """The output already sums to one per image (a softmax is part of the model)."""
    outputs_labels: bool = False
    """The output is the label itself (an argmax is part of the model): there are no scores."""
    output_layout: Layout = "NCHW"
    """Of the model's own output, where it is a map."""
    num_classes: int | None = None
    """None where it is not known, as of a model that returns labels."""
    threshold: float | None = None
    """The probability above which the answer is yes, where that is said; for tasks that decide."""
    class_names: tuple[str, ...] | None = None
    total_stride: tuple[int, int] | None = None
    """Cumulative stride (rows, columns) of the deepest map, None where it is not known."""
    doubt: str = ""
    """What else the output may be than what it was taken for; "" where nothing says so."""
    reading: str = ""
    """How boxes are made of its outputs, in words; "" where the output is one tensor."""
    detector: Mapping[str, Any] = field(default_factory=dict)
    """The same by key, `detectors.Declaration.plain`."""
    points: int = 0
    """Key points of each object of a detector."""
    masks: bool = False
    """The objects of a detector have masks."""
    task_source: str = ""
    """What named the task: "flag --task", "sidecar NAME"; "" where its outputs told."""
    one_size: bool = False
    """The file takes images of its window's size only."""
    trusted: bool = False
    notes: tuple[str, ...] = ()
    """What was done on loading and is worth saying: "put in eval mode", "output 'out' taken"."""

    @property
    def plan_stride(self) -> tuple[int, int] | None:
        """What offsets are spread over: the total stride, else that of its file.

        A file of `fix` says the stride of the net it was made of, so that both are scanned at the
        same offsets.
        """
        stated: tuple[int, int] | None = self.preprocess.reading.get("stride")
        return self.total_stride or stated
