"""What the tests of faults run in a process of its own, so that it can be killed."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import torch
from dense_small import segmenter
from small import MEAN, STD, small_net
from torch import nn

import equiaudit

NETS = {"classification": small_net, "segmentation": segmenter}
WINDOWS = {"classification": (16, 16), "segmentation": (16, 20)}


class Slow(nn.Module):
    """A net that takes its time, so that there are moments to kill it at."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__()
        self.net, self.seconds = NETS[task](), seconds

    def forward(self, x):
        time.sleep(self.seconds)
        return self.net(x)


def scan(task: str, data: Path, out: Path, settings: dict, seconds: float = 0.0) -> None:
    torch.set_num_threads(1)
    equiaudit.scan(
        Slow(task, seconds),
        data,
        task=task,
        output=out,
        size=WINDOWS[task],
        mean=MEAN,
        std=STD,
        device="cpu",
        backend="torch",
        max_shift=2,
        offsets=3,
        workers=1,
        images=False,
        accuracy_check=False,
        **settings,
    )


def outcome(out: Path) -> tuple[dict, str]:
    """What a scan wrote, apart from how long it took."""
    result = json.loads((out / "result.json").read_text())
    del result["timings"]
    return result, (out / "samples.csv").read_text()


def killed_scan(spawn, arguments: tuple, after: float | None) -> bool:
    """Run `scan` in a process of its own, killed (-9) `after` seconds; whether it was."""
    process = spawn(target=scan, args=arguments)
    process.start()
    process.join(after)
    with contextlib.suppress(OSError):
        process.kill()
    process.join()
    assert process.exitcode in (0, -9)
    return process.exitcode == -9
