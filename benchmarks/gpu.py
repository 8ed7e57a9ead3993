"""The whole table of what is claimed of a CUDA device, in under ten minutes.

    python benchmarks/gpu.py [--markdown docs/gpu.md]
    python benchmarks/gpu.py --device cpu --small     (a rehearsal: the same code, small nets)

Exactness of converted nets with TF32 off, and on; `canonical` on a Vision Transformer; a fixed
ONNX file on the CUDA provider; what fixed nets cost; a scan over bare passes; ending early; memory
that runs out; Ray with an actor on the GPU. What is not installed, or has no time left, is said in
its place. The exit code is 1 where a claim does not hold, and 2 where there is no such device.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import equiaudit
from equiaudit.audit.engine import run_scan
from equiaudit.audit.options import ScanOptions
from equiaudit.data import Dataset, open_dataset
from equiaudit.demo.net import demo_net
from equiaudit.repair.rewrite.analyse import analyse
from equiaudit.repair.rewrite.rewrite import rewrite

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "repair" / "rewrite"))

from exact_nets import captured, photos, torchvision_net
from exactness import measure
from gpu_exactness import MOST_ERROR, Session, canonical, exactness

_MEASURED = "\n## Measured\n"
LOOKS = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


Section = Callable[[Session], Iterator[str]]


def onnx_file(here: Session) -> Iterator[str]:
    """A fixed net as ONNX, on the provider of the device."""
    import onnxruntime as ort

    provider = "CUDAExecutionProvider" if here.device == "cuda" else "CPUExecutionProvider"
    if provider not in ort.get_available_providers():
        yield f"Not run: onnxruntime {ort.__version__} has no {provider} (onnxruntime-gpu has)."
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fixed.onnx")
        side = 32 if here.small else 224
        model = demo_net() if here.small else torchvision.models.resnet18(weights=None)
        torch.manual_seed(0)
        options = {"size": (side, side), **LOOKS, "method": "mass", "seconds": 5.0}
        equiaudit.fix(model.eval(), path, **options)
        session = ort.InferenceSession(str(path), providers=[provider])
        used = session.get_providers()[0]

        def run(batch: Tensor) -> Tensor:
            return torch.from_numpy(
                session.run(None, {session.get_inputs()[0].name: batch.cpu().numpy()})[0]
            )

        equal, worst = measure(run, photos(2, (side, side), seed=3), 4)
    holds = here.claim(used == provider and worst < MOST_ERROR, f"the ONNX file on {provider}")
    yield f"{used}: {equal:.2%} bit-equal, worst error {worst:.1e} of the range; holds: {holds}."


def overhead(here: Session) -> Iterator[str]:
    """Fixed over original, in turns; wanted at most 1.10 compiled."""
    yield "| net | batch | eager | compiled | holds |\n|---|---|---|---|---|"
    names = ("demo",) if here.small else ("demo", "resnet18", "mobilenet_v2", "convnext_tiny")
    for name in names:
        side = 32 if name == "demo" else 224
        model = demo_net().eval() if name == "demo" else torchvision_net(name, (side, side))
        graph = captured(model, (side, side))
        pair = [net.to(here.device) for net in (model, rewrite(graph, analyse(graph)))]
        for batch in (1,) if here.small else (1, 64):
            if here.late(0.85):
                yield f"| {name} | {batch} | not run: the time was up |"
                continue
            x = photos(batch, (side, side)).to(here.device)
            eager, compiled = _ratio(here, pair, x), _compiled(here, pair, x)
            fine = isinstance(compiled, str) or here.small or compiled <= 1.10
            holds = here.claim(fine, f"{name}, batch {batch}, compiled at most 1.10")
            shown = compiled if isinstance(compiled, str) else f"{compiled:.2f}"
            yield f"| {name} | {batch} | {eager:.2f} | {shown} | {holds} |"


def _compiled(here: Session, pair: Sequence[nn.Module], x: Tensor) -> float | str:
    try:
        return _ratio(here, [torch.compile(net) for net in pair], x)
    except Exception as error:  # a compiler that is missing or fails says so in many ways
        return f"not run: {type(error).__name__}"


@torch.inference_mode()
def _ratio(here: Session, pair: Sequence[Callable[[Tensor], Any]], x: Tensor) -> float:
    times: list[list[float]] = [[] for _ in pair]
    for turn in range(8 if here.small else 23):
        for net, own in zip(pair, times, strict=True):
            taken = _seconds(here, partial(net, x))
            if turn >= 3:
                own.append(taken)
    before, after = map(statistics.median, times)
    return after / before


def _seconds(here: Session, work: Callable[[], object]) -> float:
    _wait(here)
    start = time.perf_counter()
    work()
    _wait(here)
    return time.perf_counter() - start


def _wait(here: Session) -> None:
    if here.device == "cuda":
        torch.cuda.synchronize()


def scan(here: Session) -> Iterator[str]:
    """A whole scan, start-up aside, over the same passes on a batch that lies on the device."""
    with _scanned(here) as (model, data):
        options = ScanOptions(shifts=("circular",), max_shift=8, images=False)
        options = replace(options, offsets=2 if here.small else 16)
        run_scan(model, data, replace(options, offsets=2))
        timed: list[Any] = []
        taken = _seconds(here, lambda: timed.append(run_scan(model, data, options)))
        timings = timed[0][0].result.timings
        batch = torch.rand(timings.batch_size, 3, *here.size, device=here.device)
        calls = -(-timings.passes // timings.batch_size)
        with torch.inference_mode():
            bare = _seconds(here, lambda: [model.run(batch) for _ in range(calls)])
    holds = here.claim(here.small or taken / bare <= 1.05, "scan over bare passes at most 1.05")
    yield f"{timings.passes} passes in batches of {timings.batch_size}: {taken:.2f} s, bare"
    yield f"{bare:.2f} s, ratio {taken / bare:.3f}; holds: {holds}."


def ending(here: Session) -> Iterator[str]:
    """A gate that is far from the truth ends the scan."""
    with _scanned(here) as (model, data):
        how = {"shifts": ("circular",), "max_shift": 8, "offsets": 2, "early_stop": True}
        result = equiaudit.scan(model, data.root, gates=["circular.consistency>=0.01"], **how)
    seen, every = result.timings.passes, 3 * len(data.items)
    holds = here.claim(seen < every, "a scan ends early")
    yield f"{seen} of {every} passes; holds: {holds}."


def memory(here: Session) -> Iterator[str]:
    """A batch that does not fit is halved; the figures are the same."""
    with _scanned(here) as (model, data):
        options = ScanOptions(shifts=("circular",), max_shift=8, offsets=2, images=False)
        whole, _ = run_scan(model, data, options)
        most = whole.result.timings.batch_size // 2
        with _too_little(here, model, most) as smaller:
            halved, _ = run_scan(smaller, data, options)
    sizes = [each.result.timings.batch_size for each in (whole, halved)]
    agreements = [each.result.metric("circular.agreement").value for each in (whole, halved)]
    fine = sizes[1] < sizes[0] and (here.device == "cuda" or agreements[0] == agreements[1])
    holds = here.claim(fine, "memory that runs out halves the batch")
    yield f"batches of {sizes[0]}, then {sizes[1]}; agreement {agreements[0]} and {agreements[1]};"
    yield f"holds: {holds}."


@contextmanager
def _too_little(here: Session, model: Any, most: int) -> Iterator[Any]:
    """The model where batches of more than `most` do not fit: in earnest on a CUDA device."""
    if here.device != "cuda":

        def run(batch: Tensor) -> Tensor:
            if len(batch) > most:
                raise torch.OutOfMemoryError("a rehearsal")
            return model.run(batch)

        yield replace(model, run=run)
        return
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    held: list[Tensor] = []
    with torch.inference_mode():
        batch = torch.rand(most, 3, *here.size, device="cuda")
        torch.cuda.reset_peak_memory_stats()
        model.run(batch)
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()
    room = int(1.3 * peak)
    held.append(torch.empty(max(0, free - room), dtype=torch.uint8, device="cuda"))
    torch.cuda.set_per_process_memory_fraction(min(1.0, (held[0].numel() + room) / total))
    try:
        yield model
    finally:
        held.clear()
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def ray(here: Session) -> Iterator[str]:
    """The same scan by actors that Ray gives a GPU each."""
    if find_spec("ray") is None:
        yield 'Not run: Ray is not installed (pip install "equiaudit[ray]").'
        return
    with tempfile.TemporaryDirectory() as folder:
        _pictures(Path(folder, "images"), 16, here.size[0])
        path = Path(folder, "net.pt")
        torch.manual_seed(0)
        torch.jit.save(torch.jit.trace(demo_net().eval(), torch.rand(1, 3, *here.size)), path)
        how = {"size": here.size, **LOOKS, "device": here.device, "backend": "torch",
               "shifts": ("circular",), "max_shift": 4, "offsets": 4}  # fmt: skip
        alone = equiaudit.scan(path, Path(folder, "images"), **how)
        together = equiaudit.scan(path, Path(folder, "images"), **how, engine="ray")
    metric = "circular.agreement"
    same = alone.metric(metric) == together.metric(metric)
    yield f"the same agreement as without: {here.claim(same, 'Ray comes to the same')}."


@contextmanager
def _scanned(here: Session) -> Iterator[tuple[Any, Dataset]]:
    """A model on the device, and images in a folder."""
    torch.manual_seed(0)
    net = demo_net() if here.small else torchvision.models.resnet50(weights=None)
    model = equiaudit.load_model(net.eval(), size=here.size, device=here.device, **LOOKS)
    with tempfile.TemporaryDirectory() as folder:
        _pictures(Path(folder), 40 if here.small else 256, here.size[0])
        yield model, open_dataset(Path(folder))


def _pictures(folder: Path, count: int, side: int) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:04}.png")


SECTIONS: dict[str, Section] = {
    "Exactness": exactness,
    "canonical": canonical,
    "ONNX": onnx_file,
    "What fixed nets cost": overhead,
    "Scan over bare passes": scan,
    "Ending early": ending,
    "Memory": memory,
    "Ray": ray,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small nets, for a rehearsal")
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--markdown", type=Path, help="put the table at the end of this file")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was run (--device cpu --small rehearses).")
        return 2
    warnings.simplefilter("ignore")
    ends = time.monotonic() + arguments.seconds
    here = Session(arguments.device, arguments.small, ends)
    lines = [_about(here)]
    print(lines[0])
    for line in table(here):
        print(line, flush=True)
        lines.append(line)
    if arguments.markdown:
        kept = arguments.markdown.read_text() if arguments.markdown.is_file() else "# On a GPU\n"
        text = "\n".join(lines).replace("\n## ", "\n### ")
        arguments.markdown.write_text(f"{kept.partition(_MEASURED)[0]}{_MEASURED}\n{text}\n")
    return 1 if here.failed else 0


def table(here: Session, sections: Sequence[str] = tuple(SECTIONS)) -> Iterator[str]:
    """The lines of each section; one that fails says why and the next begins."""
    for title in sections:
        yield f"\n## {title}\n"
        if here.late():
            yield "Not run: the time was up."
            continue
        started = time.monotonic()
        try:
            yield from SECTIONS[title](here)
        except Exception as error:
            here.failed.append(title)
            first = (str(error).splitlines() or [""])[0]
            yield f"Failed: {type(error).__name__}: {first}"
        yield f"\n{time.monotonic() - started:.0f} s."
    yield "\n" + ("What does not hold: " + "; ".join(here.failed) if here.failed else "All holds.")


def _about(here: Session) -> str:
    name = torch.cuda.get_device_name() if here.device == "cuda" else f"CPU, {os.cpu_count()} cores"
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}."


if __name__ == "__main__":
    sys.exit(main())
