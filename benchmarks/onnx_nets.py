"""ONNX files through `fix --method mass`: import, conversion and the saved file in onnxruntime.

    python benchmarks/onnx_nets.py [--cases DIR] [--net NAME ...] [--exporter dynamo|legacy]
        [--size 64] [--comparisons 140] [--pad wrap|slices]

Torchvision nets with random weights and fitted batch norms, and two U-Nets, each exported by
both of torch's exporters; with `--cases`, DIR/imagenet/weights/SqueezeNet_fp16.onnx too. Printed
are the largest error of the import against onnxruntime, over the output range, and for the saved
file, run by onnxruntime, the verification's comparisons, the share that is bit-equal, the worst
error over the range, the labels that change, the same worst error of the unmodified file, and the
seconds for everything. Exits with 1 where a file did not verify.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from equiaudit.errors import EquiauditError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.repair import FixOptions, fix
from equiaudit.repair.onnx import import_onnx
from equiaudit.results.repair import FixReport, Verification

TORCHVISION = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "efficientnet_b0",
    "convnext_tiny",
    "densenet121",
    "shufflenet_v2_x1_0",
)
EXPORTERS = ("dynamo", "legacy")
SQUEEZENET = Path("imagenet", "weights", "SqueezeNet_fp16.onnx")
HEADER = (
    "| net | exporter | import error | comparisons | bit-equal | worst error | labels changed"
    " | unmodified | s |\n|---|---|---|---|---|---|---|---|---|"
)


class UNet(nn.Module):
    """Two levels, upwards by transposed convolution or bilinear interpolation."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.a, self.b, self.c = _block(3, 16), _block(16, 32), _block(32, 64)
        self.up1, self.up2 = _upwards(up, 64, 32), _upwards(up, 32, 16)
        self.d, self.e, self.head = _block(64, 32), _block(32, 16), nn.Conv2d(16, 4, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 4, H, W)."""
        a = self.a(x)
        b = self.b(self.pool(a))
        d = self.d(torch.cat([b, self.up1(self.c(self.pool(b)))], 1))
        output: Tensor = self.head(self.e(torch.cat([a, self.up2(d)], 1)))
        return output


def _block(cin: int, cout: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU())


def _upwards(kind: str, cin: int, cout: int) -> nn.Module:
    if kind == "transposed":
        return nn.ConvTranspose2d(cin, cout, 2, 2)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(cin, cout, 1))


NETS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(torchvision.models.get_model, name, weights=None) for name in TORCHVISION},
    "unet-transposed": partial(UNet, "transposed"),
    "unet-bilinear": partial(UNet, "bilinear"),
}


@dataclass(frozen=True)
class Row:
    """One file: what `fix` found, or why it did not come to that."""

    net: str
    exporter: str
    error: float
    report: FixReport
    seconds: float

    @property
    def saved(self) -> Verification:
        """Of the file that was written."""
        return self.report.verifications[-1]

    def __str__(self) -> str:
        after, before = self.saved.figures, self.saved.control
        cells = (
            self.net,
            self.exporter,
            f"{self.error:.1e}",
            str(after.comparisons),
            f"{100 * (after.share_exact or 0):.4g}%",
            f"{after.worst_relative:.1e}",
            f"{after.label_changes} of {after.labels}",
            "-" if before is None else f"{before.worst_relative:.1e}",
            f"{self.seconds:.0f}",
        )
        return f"| {' | '.join(cells)} |"


@torch.no_grad()
def made(name: str, size: int) -> nn.Module:
    """The net in eval mode, its batch norms fitted to noise, so that its features vary."""
    torch.manual_seed(0)
    net = NETS[name]().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.75, 1.25)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = None
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    net(torch.randn(8, 3, size, size))
    return net.eval()


def exported(name: str, exporter: str, size: int, folder: Path) -> Path:
    """The net as an ONNX file with a free batch axis."""
    path, example = folder / f"{name}-{exporter}.onnx", torch.randn(2, 3, size, size)
    net = made(name, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(
                net, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False
            )
            if program is None:
                raise RuntimeError(f"torch exported no program of {name}")
            program.save(path, external_data=False)
        else:
            axes = {"image": {0: "batch"}}
            torch.onnx.export(
                net, (example,), path, dynamo=False, input_names=["image"], dynamic_axes=axes
            )
    return path


def fixed(path: Path, name: str, exporter: str, out: Path, options: FixOptions) -> Row:
    """`fix` on a file, timed; its import by itself for the error."""
    start = time.perf_counter()
    normalised = PreprocessOverrides(mean=(0.5,) * 3, std=(0.25,) * 3)  # as its norms are fitted
    if name == "SqueezeNet_fp16":
        normalised = PreprocessOverrides(mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3)
    model = load(path, preprocess=normalised, normalisation=False)
    report = fix(model, out, options)
    seconds = time.perf_counter() - start
    return Row(name, exporter, import_onnx(path, size=model.preprocess.size).error, report, seconds)


def files(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, exporter and path of each file asked for, made when its turn comes."""
    if args.cases is not None and "SqueezeNet_fp16" in (args.net or ["SqueezeNet_fp16"]):
        yield "SqueezeNet_fp16", "-", args.cases / SQUEEZENET
    for name in NETS:
        for exporter in args.exporter or EXPORTERS:
            if name in (args.net or NETS):
                yield name, exporter, exported(name, exporter, args.size, folder)


def main() -> int:
    """Print a row per file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--net", action="append", choices=[*NETS, "SqueezeNet_fp16"])
    parser.add_argument("--exporter", action="append", choices=EXPORTERS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--comparisons", type=int, default=140)
    parser.add_argument("--pad", choices=("wrap", "slices"), default="wrap")
    args = parser.parse_args()
    options = FixOptions(comparisons=args.comparisons, pad=args.pad, devices=("cpu",))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {args.size} px")
    print(HEADER, flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, exporter, path in files(args, Path(folder)):
            try:
                row = fixed(path, name, exporter, Path(folder, "fixed.onnx"), options)
            except EquiauditError as error:
                failed += 1
                print(f"| {name} | {exporter} | {error} |", flush=True)
                continue
            failed += row.report.outcome != "written"
            reason = "" if row.report.reason is None else f" {row.report.reason}"
            print(f"{row}{reason}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
