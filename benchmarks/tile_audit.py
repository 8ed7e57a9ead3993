"""The U-Net of `magnetic_tile.py` before and after `fix`: three shift kinds and sliding windows.

    PYTHONPATH=. python benchmarks/tile_audit.py OUT

OUT is the folder that `magnetic_tile.py` wrote. Every column is one model on the same test
photos and shifts; NMSE is that of the map of a rolled image against the rolled map, the worst
of all images, on the test photos and on images unlike them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair" / "rewrite"))

from exact_nets import random_shifts, shifted
from magnetic_tile import PREPROCESS, WINDOW
from tile_unet import unet

from equiaudit import fix, load_model, scan
from equiaudit.data import Decoded, Geometry, decode, open_dataset
from equiaudit.errors import EquiauditError
from equiaudit.models import Model
from equiaudit.models.pixels import normalise
from equiaudit.repair.verify.images import as_input
from equiaudit.repair.verify.synthetic import synthetic_images
from equiaudit.results import Result

METHODS: dict[str, dict[str, object]] = {
    "mass": {"method": "mass"},
    "mass, calibrated": {"method": "mass", "calibrate": True},
    "mass, distilled": {"method": "mass", "distil": 32},
    "mass, fine-tuned": {"method": "mass", "finetune": 12},
    "canonical": {"method": "canonical"},
    "canonical+border": {"method": "canonical+border"},
}
KINDS = ("circular", "crop", "zero-pad")
METRICS = (
    *("circular.miou_clean", "circular.mascc", "circular.miou_shifted", "circular.miou_worst"),
    *("crop.massc", "crop.miou_shifted", "zero-pad.massc", "zero-pad.miou_shifted"),
    *("caps-middle.mean_iou", "caps-middle.iou_variance", "caps-middle.area_variance"),
    *("caps-middle.lost_share", "caps-boundary.mean_iou", "caps-boundary.iou_variance"),
    *("caps-boundary.area_variance", "caps-boundary.lost_share"),
)
DRAWN = ("text", "disk", "gradient-both", "noise")


def windows(model: Model, folder: Path, count: int) -> Tensor:
    """The middles of the first photos as the model receives them."""
    geometry = Geometry(window=model.preprocess.size, gray=True)
    found = (decode(item, geometry) for item in open_dataset(folder).items[:count])
    pixels = [image.pixels for image in found if isinstance(image, Decoded)]
    return torch.cat([normalise(p[None], model.preprocess, model.device) for p in pixels])


def unlike(model: Model) -> Tensor:
    """Drawings and noise."""
    made = synthetic_images(model.preprocess.size)
    return torch.stack([as_input(made[name], model.preprocess) for name in DRAWN])


@torch.inference_mode()
def worst_nmse(run: Callable[[Tensor], Tensor], x: Tensor, rounds: int) -> float:
    """Each image is rolled by itself, anywhere."""
    y, worst = run(x), 0.0
    for seed in range(rounds):
        moves = random_shifts(len(x), (x.shape[2], x.shape[3]), seed)
        expected, found = shifted(y, moves).double(), run(shifted(x, moves)).double()
        errors = (expected - found).square().sum((1, 2, 3)) / expected.square().sum((1, 2, 3))
        worst = max(worst, float(errors.max()))
    return worst


def scans(model: Path, data: Path, offsets: int, limit: int | None) -> dict[str, Result]:
    """By shift kind: each figure comes from one of the two scans."""
    common = {"images": False, "accuracy_check": False, "limit": limit}
    kinds = scan(model, data, offsets=offsets, **common)  # type: ignore[arg-type]
    caps = scan(model, data, protocol="caps", **common)  # type: ignore[arg-type]
    return dict.fromkeys(kinds.shifts, kinds) | dict.fromkeys(caps.shifts, caps)


def column(
    path: Path, folder: Path, *, offsets: int, rounds: int, limit: int | None
) -> dict[str, str]:
    """Every figure of one model."""
    found = scans(path, folder / "test", offsets, limit)
    cells = {}
    for name in METRICS:
        kind = name.partition(".")[0]
        known = kind in found and name in found[kind].metric_names()
        cells[name] = f"{found[kind].metric(name).value:.4g}" if known else "-"
    model = load_model(path)
    photos = windows(model, folder / "test" / "images", 32)
    cells["NMSE, test photos"] = f"{worst_nmse(model.run, photos, rounds):.1e}"
    cells["NMSE, unlike them"] = f"{worst_nmse(model.run, unlike(model), rounds):.1e}"
    return cells


def converted(original: Path, method: str, folder: Path) -> Path | None:
    """The file that `fix` wrote; None where it would not."""
    out = original.with_name(f"fixed-{method.replace(', ', '-')}.pt")
    train = {"train_data": folder / "train"} if len(METHODS[method]) > 1 else {}
    try:
        report = fix(original, out, **METHODS[method], **train)  # type: ignore[arg-type]
    except EquiauditError as error:
        print(f"{method}: {error}", flush=True)
        return None
    for record in report.verifications:
        figures = record.figures
        print(
            f"{method}, {record.subject}: {figures.comparisons_exact} of {figures.comparisons}"
            f" bit-equal; unmodified {record.control and record.control.comparisons_exact}",
            flush=True,
        )
    return Path(str(report.output))


def circular_padding(original: Path) -> Path:
    """The net with circular in place of zero padding, and its sampling as it was."""
    net = unet().eval()
    net.load_state_dict(load_file(original.with_name("unet.safetensors")))
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d) and conv.padding != (0, 0):
            conv.padding_mode = "circular"
            conv._reversed_padding_repeated_twice = [1] * 4
    out = original.with_name("circular-padding.pt")
    traced = torch.jit.trace(net, torch.randn(2, 1, WINDOW, WINDOW))
    torch.jit.save(traced, out, _extra_files={"preprocess.toml": PREPROCESS})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what magnetic_tile.py wrote")
    parser.add_argument("--offsets", type=int, default=16, help="shifts per photo and kind")
    parser.add_argument("--rounds", type=int, default=4, help="rolls per photo, for NMSE")
    parser.add_argument("--limit", type=int, help="photos")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    original = args.folder / "unet.pt"
    files = {"unmodified": original, "circular padding alone": circular_padding(original)}
    files |= {name: converted(original, name, args.folder) for name in args.methods}
    columns = {}
    for name, path in files.items():
        if path is not None:
            columns[name] = column(
                path, args.folder, offsets=args.offsets, rounds=args.rounds, limit=args.limit
            )
            print(f"{name}: {columns[name]}", flush=True)
    print("\n| " + " | ".join(("", *columns)) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in next(iter(columns.values())):
        print("| " + " | ".join((row, *(cells[row] for cells in columns.values()))) + " |")


if __name__ == "__main__":
    main()
