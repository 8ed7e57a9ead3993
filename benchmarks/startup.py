"""Processor time of commands that are refused, beside that of `equiaudit --help`.

    python benchmarks/startup.py [--rounds 5]

Every command runs in a process of its own, in turns; printed are the least user and system time
of the rounds, and its ratio to that of `--help`. The target is 1.5 at most.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

KNOWN = "--size 16 --mean 0,0,0 --std 1,1,1"
COMMANDS = (
    "--help",
    "gate none.json --gate circular.consistency>=0.9",
    "scan none.pt images",
    "scan net.pt images",
    "scan net.pt2 images",
    "scan net.onnx images",
    "scan net.pth images",
    "scan known.pth images",
    "scan legacy.pth images",
    "scan wrapped.pth images",
    "scan timm.safetensors images",
    "scan net.safetensors images --arch torchvision:resnet18",
    "scan net.pth images --arch torchvision:resnet18",
    f"scan net.pt nowhere {KNOWN}",
    f"scan net.onnx nowhere {KNOWN}",
    f"scan net.pt empty {KNOWN}",
    f"scan net.pt images {KNOWN} --labels none.csv",
    f"scan net.pt images {KNOWN} --layout none",
    f"scan net.pt images {KNOWN} --gate none>1",
    "scan net.pt images --require-baseline",
    "scan net.pt images --early-stop",
    "inspect net.pt",
    "verify net.pt",
    "fix net.pt",
    "fix net.pt -o out.pt",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        _write(Path(home))
        spent = {command: [] for command in COMMANDS}
        for _ in range(rounds):
            for command in COMMANDS:
                spent[command].append(_seconds(command, home))
    least = {command: min(seconds) for command, seconds in spent.items()}
    print(f"{'s':>5}  {'ratio':>5}  command")
    for command, seconds in least.items():
        print(f"{seconds:5.2f}  {seconds / least['--help']:5.2f}  {command}")


def _seconds(command: str, home: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "equiaudit", *command.split()]
    subprocess.run(argv, cwd=home, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _write(home: Path) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
    image = torch.rand(2, 3, 16, 16)
    torch.jit.save(torch.jit.trace(net, image), home / "net.pt")
    torch.export.save(torch.export.export(net, (image,)), home / "net.pt2")
    torch.onnx.export(net, (image,), home / "net.onnx", dynamo=False)
    torch.save(net.state_dict(), home / "net.pth")
    save_file(net.state_dict(), home / "net.safetensors")
    state = models.squeezenet1_1().state_dict()
    torch.save(state, home / "known.pth")
    torch.save(state, home / "legacy.pth", _use_new_zipfile_serialization=False)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "model": wrapped}, home / "wrapped.pth")
    save_file(timm.create_model("test_vit").state_dict(), home / "timm.safetensors")
    for name in ("images", "empty"):
        (home / name).mkdir()
    Image.new("RGB", (32, 32)).save(home / "images" / "one.png")


if __name__ == "__main__":
    main()
